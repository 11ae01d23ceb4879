"""Word lists of `seg_lib.data.deidentify`: first names, and capitalised words that name nobody."""

FIRST = """Aaron Adam Ahmed Alan Albert Alex Alexander Alice Ali Amanda Amy Ana Andrea Andrew Angela
Ann
Anna Anne Anthony Antonio Arthur Barbara Ben Benjamin Bernd Betty Brian Bruce Carl Carlos Carol
Catherine Charles Chen Chris Christian Christine Christopher Claire Claudia Daniel David Deborah
Dennis Diane Donald Donna Dorothy Edward Elena Elizabeth Ellen Emily Emma Eric Eva Fatima Frank
Gary George Hannah Hans Heather Helen Helga Henry Ian Ingrid Ivan Jack Jacob James Jan Jane
Janet Jason Jean Jennifer Jessica Joan Joe John Jonathan Jose Joseph Joshua Juan Judith Julia
Julie Karen Karl Katherine Kathleen Keith Kelly Kenneth Kevin Klaus Kumar Larry Laura Linda Lisa
Louis Lucy Luis Margaret Maria Marie Mark Martha Martin Mary Matthew Melissa Michael Michelle
Mohamed Mohammed Monika Nancy Natalie Nicholas Nicole Nina Olga Oliver Olivia Pamela Patricia
Patrick Paul Paula Pedro Peter Petra Philip Priya Rachel Ralph Raymond Rebecca Renate Richard
Robert Roger Ronald Rosa Roy Ruth Ryan Samuel Sandra Sara Sarah Scott Sharon Simon Sofia Sophie
Stefan Stephen Steven Susan Teresa Theresa Thomas Timothy Tom Ursula Victor Victoria Virginia
Walter Wei William Wolfgang Yusuf"""
FIRST_NAMES = set(FIRST.split())
# In lower case: what may stand with a capital in the middle of a sentence or a heading.
PLAIN = """abdomen abdominal acute adenocarcinoma adrenal air airway anterior aorta aortic apical
april
area artery august axial axillary baseline benign bilateral biopsy body bone both brain breast
bronchus cancer carcinoma cardiac care carotid cell central cervical chemotherapy chest chronic
clinical comparison conclusion consolidation contrast contralateral coronal ct date december
definitive diagnosis diameter disease dose effusion enlarged esophagus exam examination february
fibrosis field findings fissure fluid follow gland gray gross ground glass head heart hepatic
hilar hilum history hodgkin horner hounsfield image imaging impression indication inferior
interval january july june karnofsky kerley kidney large larynx lateral left lesion lesions
liver lobe local lower lung lungs lymph malignant march margin mass may medial mediastinal
mediastinum medication metastasis metastatic middle moderate mucosa multiple muscle neck
necrosis negative new node nodes nodule nodules non normal november nsclc october oncology
opinion oral pack paget pain pancoast pancreas pancreatic parotid partial past patient patients
pelvis performance pericardial physical plan planning pleura pleural pneumonia positive
posterior previous primary progression progressive prostate pulmonary radiation radiology
radiotherapy recommendation recommendations regional renal report resection response result
results right risk scan score segment september sequence series side small smoking soft solid
spine spleen spouse squamous stable stage stages staging status stomach study superior surgery
surgical systemic target technique therapy thoracic thorax thyroid tissue trachea treatment
tube tumor tumour tumours type upper vein vena cava vessel visit volume with without wound year
monday tuesday wednesday thursday friday saturday sunday english german french spanish european
american caucasian asian african hispanic christmas easter
gleason fleischner breslow clark ghon virchow bosniak child pugh whipple ivor lewis dixon
keytruda opdivo tagrisso gadovist omnipaque ultravist abraxane alimta avastin taxol tylenol
lasix siemens philips toshiba canon aquilion somatom ingenuity revolution
i he she his her the a an and of for in on no yes not it its this that these those there we us
our you your they is was are were has had have be as at by from to or but if when after before
while during since until due none unknown absent present seen noted shown compared unchanged
mild marked severe single several some all any each both other another further former never
never-smoker smoker ex lives please thank dear regards sincerely kind re cc will would can could
should discussed referred admitted discharged signed dictated reported reviewed verified page
today yesterday tomorrow morning evening week month day follow-up e-mail email phone tel fax
drs record specimen account sample barcode consult consultation request acc dob born mrn mfn nhs ssn
jan feb mar apr jun jul aug sep sept oct nov dec gy sv bq mbq kv mv hu suv
ward clinic hospital team board department unit room doctor dr mr mrs ms prof professor nurse
wife husband son daughter sister brother mother father name number address"""
NO_NAMES = set(PLAIN.split())
