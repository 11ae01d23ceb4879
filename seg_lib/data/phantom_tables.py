"""The numbers behind the CT phantom, each with its source, and the Lung-RADS size rules.

Change a number here and the phantom follows; nothing below draws anything. Source grades: [A] read
in the primary source, [B] computed from real data here, [C] textbook or our own choice, not
verified. Taught in notebook 01.
"""

import dataclasses

from seg_lib.errors import InputError

# Lobe of 543 primary lung cancers: 169, 29, 120, 135, 90 [A: Thorax, table "AAH and carcinoma by
# lobe"; sides inferred from the middle-lobe row]. Right upper share confirmed in n = 10,849
# (31.2 %, PMC10910834). Screening nodules are flatter (BMC Med Imaging s12880-021-00594-4).
LOBE_SHARE: dict[str, float] = {
    "RUL": 0.311,
    "RML": 0.053,
    "RLL": 0.221,
    "LUL": 0.249,
    "LLL": 0.166,
}

# Texture of 292 LIDC-IDRI nodules (majority of the readers): solid 82.5 %, mixed 9.9 %, non-solid
# 7.5 % [B]. A screening series of 89 has soft tissue 88, mixed 4, ground glass 4 % [A: BMC Med
# Imaging s12880-021-00594-4, table 2]. Rounded from the first, so that 100 cases show each kind.
TEXTURE_SHARE: dict[str, float] = {"solid": 0.82, "part-solid": 0.10, "ground-glass": 0.08}

# Margin: smooth 82, ill-defined 10, spiculated 4 % of the 89 [A]; medium spiculation or more in
# 10 % and medium lobulation or more in 12 % of the 292 [B].
MARGIN_SHARE: dict[str, float] = {
    "smooth": 0.68,
    "lobulated": 0.12,
    "ill-defined": 0.10,
    "spiculated": 0.10,
}

# Subpleural 43 % [A: same table 2]; that half of them touch the pleura is our choice [C], as is the
# share of the other nodules that sit on a vessel.
ATTACHMENT_SHARE: dict[str, float] = {
    "pleura": 0.215,  # grows from the pleura
    "subpleural": 0.215,  # within 10 mm of it
    "vessel": 0.17,
    "free": 0.40,
}

# Mean diameter, log-normal. Screening nodules are small (4.88 +- 2.26 mm, n = 89 [A]; median 7.0 mm
# and log-sigma 0.52 in LIDC [B]); a slice of 128 pixels shows nothing of them. The median is
# shifted to 13 mm on purpose: solid nodules then fall 10/12/42/36 % into LR2/LR3/LR4A/LR4B, near
# the 13/14/37/36 % of the public Lung-RADS test set (35, 37, 97, 95 of 264 [A: the authors'
# notebook]).
DIAMETER_MEDIAN_MM = 13.0
DIAMETER_LOG_SIGMA = 0.60
DIAMETER_RANGE_MM = (3.0, 30.0)
# The mean diameter spans at least this many pixels: 2.5 mm at 512 pixels, 5 at 256, 10 at 128.
# Smaller ones no network of the course's size could find, nor a reader.
SMALLEST_DIAMETER_PIXELS = 3.5

SOLID_PART_SHARE = (0.25, 0.80)  # solid diameter / whole diameter of a part-solid nodule [C]
NODULES_PER_PATIENT: dict[int, float] = {1: 0.6, 2: 0.3, 3: 0.1}  # [C]
SLICES_PER_PATIENT: dict[int, float] = {1: 0.3, 2: 0.4, 3: 0.3}  # [C]

# Hounsfield units, (lowest, highest) over patients [C: textbook ranges].
TISSUE_HU: dict[str, tuple[float, float]] = {
    "lung": (-870.0, -780.0),
    "fat": (-110.0, -90.0),
    "muscle": (45.0, 60.0),
    "blood": (35.0, 50.0),
    "contrast blood": (120.0, 220.0),
    "liver": (50.0, 65.0),
    "marrow": (150.0, 260.0),
    "cortex": (600.0, 900.0),
    "solid": (5.0, 60.0),
    "ground-glass": (-620.0, -430.0),
}
SLICE_RANGE_MM = (1.0, 3.0)  # distance between slices of a volume [A: see Scanner.slice_mm]
CONTRAST_SHARE = 0.5  # of the patients have contrast medium in their vessels [C]


@dataclasses.dataclass(frozen=True)
class Scanner:
    """One source of images: what it writes outside its field of view, and how it looks."""

    name: str
    padding_hu: int  # all four values occur in the public Lung-RADS set [A: its notebooks]
    noise_hu: float  # standard deviation in the middle of the body [C]
    blur_mm: float  # width of an edge: sharp kernel 1.0, soft kernel 1.6 [C]
    slice_mm: float  # median 1.25 in MSD lung, <= 2.5 in LUNA16, 3 in Lung1 [A]


SCANNERS: tuple[Scanner, ...] = (
    Scanner("A", -1024, 22.0, 1.3, 1.25),
    Scanner("B", -2048, 32.0, 1.0, 1.0),
    Scanner("C", -3024, 17.0, 1.6, 2.5),
    Scanner("D", -1001, 38.0, 1.1, 2.0),
)

# Solid diameter in mm from which a nodule is in the category (baseline scan). Lung-RADS v1.1 table
# [A: NCBI NBK568579, appendix A, table 2]; v2022 keeps these limits [A: ECR25 C-22137]; the 4B line
# of the copy was cut off, its limits are the standard ACR text [C].
SOLID_LIMITS_MM = ((15.0, "LR4B"), (8.0, "LR4A"), (6.0, "LR3"), (0.0, "LR2"))
PART_SOLID_LIMITS_MM = ((8.0, "LR4B"), (6.0, "LR4A"), (0.0, "LR3"))  # by the solid part
PART_SOLID_SMALLEST_MM = 6.0  # whole diameter; below it LR2
GROUND_GLASS_LIMITS_MM = ((30.0, "LR3"), (0.0, "LR2"))

LUNG_RADS = ("LR2", "LR3", "LR4A", "LR4B")


def lungrads_category(texture: str, diameter_mm: float, solid_mm: float = 0.0) -> str:
    """Lung-RADS category of a nodule on a baseline scan, by size alone.

    Args:
        texture: "solid", "part-solid" or "ground-glass".
        diameter_mm: mean diameter of the whole nodule.
        solid_mm: mean diameter of the solid part; only read for part-solid nodules.

    Returns:
        "LR2", "LR3", "LR4A" or "LR4B". LR1 (no nodule) and LR4X (further signs) never come out.

    Raises:
        InputError: unknown texture.

    Taught in notebook 01.
    """
    if texture not in TEXTURE_SHARE:
        raise InputError(f"texture '{texture}': choose one of {', '.join(TEXTURE_SHARE)}.")
    if texture == "part-solid":
        if diameter_mm < PART_SOLID_SMALLEST_MM:
            return "LR2"
        limits, size_mm = PART_SOLID_LIMITS_MM, solid_mm
    elif texture == "solid":
        limits, size_mm = SOLID_LIMITS_MM, diameter_mm
    else:
        limits, size_mm = GROUND_GLASS_LIMITS_MM, diameter_mm
    return next(category for from_mm, category in limits if size_mm >= from_mm)
