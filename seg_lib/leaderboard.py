"""Who is first, and how sure is that? A folder of submissions becomes one HTML page.

A rank is a guess as much as a mean is: with other patients the order could be another. So the
cases are drawn anew many times, the same ones for all teams, and the page says how often each
team comes first. The page asks nothing of any other machine. Taught in notebook 18.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from seg_lib.errors import InputError
from seg_lib.files import write_text
from seg_lib.submission import Row, check_reference, official_score, score_submission
from seg_lib.submission_archive import refuse_inside
from seg_lib.submission_rules import read_rules

ATTEMPT = re.compile(r"(.+)@(\d{1,4})")  # "team@2": the second submission of "team"
LONGEST_NAME = 60
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Leaderboard</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
padding: 0 1rem }} table {{ border-collapse: collapse }} th, td {{ padding: .25rem .7rem;
text-align: left; border-bottom: 1px solid #d9dce1 }} rect {{ fill: #0072b2 }}</style></head><body>
<h1>Leaderboard</h1><p>Score: mean of (1 &minus; Dice, RECIST error, volume error); 0 is best. In
brackets 95&nbsp;% intervals over {n_cases} cases. First: share of {draws} draws of cases in which
the team is first (teams that are level both are). Histogram: cases by Dice, 0 to 1.</p>
{table}<h2>Refused</h2>{refused}</body></html>
"""


def standings(
    rows_by_team: Mapping[str, Sequence[Row]], n_resamples: int = 2000, seed: int = 0
) -> list[Row]:
    """One line a team, the best first.

    Args:
        rows_by_team: rows of ``score_submission``; the same cases for every team.
        n_resamples: draws of the cases, the same for all teams.
        seed: of the draws.

    Returns:
        "rank" (teams that are level share one), "team", "score" with "low" and "high", "dice",
        "recist_error", "volume_error", "worst_case" and its "worst_score", "first" (share of the
        draws) and "rank_low", "rank_high" (95 % of the draws).

    Raises:
        InputError: no teams, or teams with different cases.
    """
    cases = {tuple(row["case"] for row in rows) for rows in rows_by_team.values()}
    if len(cases) != 1:
        raise InputError(f"{len(rows_by_team)} teams, {len(cases)} lists of cases; give one list.")
    scores = np.array([[row["score"] for row in rows] for rows in rows_by_team.values()])
    n = scores.shape[1]
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    ranks = _ranks(np.stack([of_team[drawn].mean(axis=1) for of_team in scores]))
    low, high = np.quantile(ranks, [0.025, 0.975], axis=1, method="inverted_cdf")
    lines = []
    for number, (team, rows) in enumerate(rows_by_team.items()):
        summary, worst = official_score(rows, n_resamples, seed), max(rows, key=itemgetter("score"))
        line = {"rank": int(_ranks(scores.mean(axis=1))[number]), "team": team}
        line |= {"score": summary["score"]["mean"]}
        line |= {name: summary["score"][name] for name in ("low", "high")}
        line |= {name: summary[name]["mean"] for name in ("dice", "recist_error", "volume_error")}
        line |= {"worst_case": worst["case"], "worst_score": worst["score"]}
        line |= {"first": float((ranks[number] == 1).mean())}
        lines.append(line | {"rank_low": int(low[number]), "rank_high": int(high[number])})
    return sorted(lines, key=itemgetter("rank", "team"))


def _ranks(scores: np.ndarray) -> np.ndarray:
    """1 + how many teams (first axis) are better, that is lower; rounding errors are no lead."""
    rounded = np.round(scores, 12)
    return 1 + (rounded[None] < rounded[:, None]).sum(axis=1)


def collect(
    submissions_dir: str | Path, reference_dir: str | Path, rules: Mapping[str, Any], *skip: Path
) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """Score what lies in a folder: rows by team, and the reason by name of what is refused.

    ``team.zip`` is a team's only submission; of ``team@1.zip``, ``team@2.zip`` the last one within
    ``max_submissions`` counts, good or bad. ``skip``: files there that are no submissions.
    """
    attempts: dict[str, dict[int, list[Path]]] = {}
    refused: dict[str, str] = {}
    for path in sorted(Path(submissions_dir).iterdir()):
        if path.name.startswith(".") or path.resolve() in skip:
            continue
        name = path.name if path.is_dir() else path.stem
        team, number = found.groups() if (found := ATTEMPT.fullmatch(name)) else (name, 1)
        newest = max(part.lstat().st_mtime for part in (path, *path.rglob("*")))
        late = datetime.fromtimestamp(newest).astimezone()
        if late > rules.get("deadline", late):
            refused[path.name] = f"came at {late:%Y-%m-%d %H:%M}, after the deadline."
        elif int(number) > rules.get("max_submissions", int(number)):
            refused[path.name] = f"more than {rules['max_submissions']} submissions of one team."
        else:
            attempts.setdefault(team, {}).setdefault(int(number), []).append(path)
    rows_by_team = {}
    for team, paths in ((team, numbered[max(numbered)]) for team, numbered in attempts.items()):
        try:
            if len(paths) > 1:
                raise InputError("several submissions of one team; name them team@1, team@2.")
            rows_by_team[team] = score_submission(paths[0], reference_dir, rules)[0]
        except InputError as fault:
            refused |= {path.name: str(fault).removeprefix(f"{path.name}: ") for path in paths}
    return rows_by_team, refused


def write_leaderboard(
    submissions_dir: Path, out_html: Path, reference_dir: Path, rules_file: Path | None = None
) -> str:
    """Score every submission in a folder and write the page; returns what to tell.

    Raises:
        InputError: no folder, nothing in it, or the reference or the rules cannot be used.
    """
    if not Path(submissions_dir).is_dir():
        raise InputError(f"{submissions_dir}: there is no such folder; check the path.")
    refuse_inside(reference_dir, out_html)
    check_reference(reference_dir)  # refused here: no team is to blame for it
    skip = [Path(path).resolve() for path in (out_html, rules_file) if path]
    rules = read_rules(rules_file)
    rows_by_team, refused = collect(submissions_dir, reference_dir, rules, *skip)
    if not rows_by_team and not refused:
        raise InputError(f"{submissions_dir}: holds no submissions; put one ZIP a team there.")
    lines = standings(rows_by_team) if rows_by_team else []
    write_text(out_html, _page(lines, rows_by_team, refused))
    first = [f"{line['rank']}. {_shown(line['team'])} {line['score']:.4f}" for line in lines]
    return "\n".join([*first, f"{out_html}: {len(lines)} teams, {len(refused)} refused."])


def _page(lines: list[Row], rows_by_team: Mapping[str, list[Row]], refused: dict) -> str:
    head = "Rank,Team,Score,Dice,RECIST error,Volume error,Worst case,First,Rank 95 %,Dice of cases"
    table = [[f"<th>{name}</th>" for name in head.split(",")]]
    for line in lines:
        cells = [
            f"{line['rank']}",
            _shown(line["team"]),
            f"{line['score']:.4f} ({line['low']:.4f} to {line['high']:.4f})",
            *(f"{line[name]:.4f}" for name in ("dice", "recist_error", "volume_error")),
            f"{line['worst_case']}: {line['worst_score']:.2f}",
            f"{line['first']:.0%}",
            f"{line['rank_low']} to {line['rank_high']}",
        ]
        picture = _histogram([row["dice"] for row in rows_by_team[line["team"]]])
        table.append([*(f"<td>{escape(cell)}</td>" for cell in cells), f"<td>{picture}</td>"])
    rows = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in table)
    reasons = (f"<li>{escape(_shown(n))}: {escape(why)}</li>" for n, why in sorted(refused.items()))
    return PAGE.format(
        n_cases=max(map(len, rows_by_team.values()), default=0),
        draws=2000,
        table=f"<table>{rows}</table>",
        refused=f"<ul>{''.join(reasons)}</ul>" if refused else "<p>None.</p>",
    )


def _shown(name: str) -> str:
    """A team's name that neither hides letters nor becomes a formula in a spreadsheet."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name[:LONGEST_NAME])
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def _histogram(dices: Sequence[float]) -> str:
    """Ten bars of how many cases have a Dice of 0-0.1, 0.1-0.2, …; inline SVG, with words."""
    counts = np.histogram(dices, bins=10, range=(0, 1))[0].tolist()
    words = f"Cases by Dice in steps of 0.1 from 0 to 1: {', '.join(map(str, counts))}"
    bars = "".join(
        f'<rect x="{12 * i}" y="{40 - 40 * n / max(counts):.1f}" width="11" '
        f'height="{40 * n / max(counts):.1f}"/>'
        for i, n in enumerate(counts)
    )
    return f'<svg role="img" aria-label="{words}" width="120" height="40">{bars}</svg>'
