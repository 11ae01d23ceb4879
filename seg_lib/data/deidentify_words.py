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
wife husband son daughter sister brother mother father name number address
case file chart study order addendum md phd frcr frcs frcp mrcp rn np do mbbs ms spr time best hi
hello carer lady lord madam sir capt rev nok gp ref fao mri pet spect tesla th im se spo id ids
ecog karnofsky suvmax copd iv ii iii vi vii viii ix medicare medicaid user path referring
radiologist oncologist surgeon physician consultant registrar colleague team present oncology
addressee encl enclosure copy urgent routine private confidential final amended draft preliminary
chief complaint allergies vital signs assessment discussion background summary details initials
reader typist author wishes thanks yours med univ ph sp
senora mlle motors am pm care home
admit admission discharge addison cushing crohn parkinson alzheimer charlson clavien dindo
mallampati masaoka deauville herder eastern cooperative group ann arbor hb na ki dmax dmean dmin fr
raynaud sjogren wegener marfan ewing kaposi wilms hashimoto zenker lambert eaton trousseau
dupuytren billroth roux seldinger doppler gram ziehl neelsen papanicolaou schwann langerhans reed
sternberg merkel krukenberg klatskin warthin castleman burkitt waldenstrom babinski romberg apgar
barthel lugano schmorl scheuermann bochdalek morgagni virchow sudeck couinaud forrest nyha recist
hba spect caprini mann whitney kaplan meier cox monte carlo gaussian emphysema haemoptysis
hemoptysis cough dyspnoea dyspnea dysphagia hoarseness fever weight loss nausea fatigue
hypertension diabetes cachexia oedema edema thrombus embolism fracture fractures cyst cysts
calcification calcifications atelectasis adenopathy lymphadenopathy nodal metastases primaries
tumours osteolysis spiculated lobulated enhancing cavitation cavity bronchiectasis honeycombing
reticulation symptoms allergies smoking faithfully truly"""
NO_NAMES = set(PLAIN.split())
# Pieces of the rules: street words, states (not CT, PA, ...: words of radiology), ends of hosts.
STREETS = """Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Way|Court|Ct|Place|Pl
|Terrace|Ter|Close|Square|Sq|Crescent|Cres|Parkway|Pkwy|Highway|Hwy|Row|Hill|Gardens|Mews|Grove|Trail
|Trl|Circle|Cir|Hollow|Wharf|Walk|Quay|View|Rise|Heights|Estate|Green|Park|Pike|Turnpike|Loop|Alley
|Bend|Cove|Crossing|Ridge|Glen|Meadows?|Cottages?|Vale|Parade|Esplanade|Broadway|Wynd|Brae|Freeway
|Expressway|Plaza|Croft|Fields|Villas|Passage|Yard|Promenade|Causeway|Common|House|Farm|Lodge"""
STATES = """AK|AL|AR|AZ|CA|CO|DC|DE|FL|GA|HI|IA|IL|IN|KS|KY|LA|MA|ME|MI|MN|MO|MT|NC|ND|NE|NH|NJ|NM
|NV|NY|OH|OK|ON|PA|BC|QC|AB|RI|SC|SD|TN|TX|UT|VA|VT|WA|WI|WV|WY|UK|USA"""
COUNTRIES = "uk|de|fr|nl|ie|ca|au|nz|jp|cn|br|pl|se|dk|fi|ch|eu|io|ru|cz|pt|gr|hu|kr|za|mx"
STREETS, STATES = STREETS.replace("\n", ""), STATES.replace("\n", "")
