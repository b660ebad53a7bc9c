"""Small tables for classification, most of them from the UCI Machine Learning Repository, by name.

D. Dua and C. Graff. UCI Machine Learning Repository. University of California, Irvine. http://archive.ics.uci.edu/ml
"""

from almeta.data.dataset import Dataset
from almeta.data.openml import load_stored

# iris and wine come with scikit-learn, see `almeta.data.embedded`.
# fmt: off
NAMES = (
    "abalone", "appendicitis", "australian", "balance_scale", "banana", "banknote", "blood_transfusion",
    "breast_cancer_ljubljana", "breast_cancer_wisconsin", "car", "clean1", "dermatology", "diabetes", "dna",
    "ecoli", "fertility", "fourclass", "german_numer", "glass", "haberman", "hayes_roth", "heart_statlog",
    "hepatitis", "house_votes", "ilpd", "ionosphere", "kr_vs_kp", "letter", "liver_disorders", "lymphography",
    "magic", "mammographic_masses", "mushrooms", "new_thyroid", "optdigits", "page_blocks", "parkinsons",
    "pendigits", "phishing", "phoneme", "planning_relax", "ring", "satimage", "seeds", "segment", "sonar",
    "spambase", "splice", "tic_tac_toe", "twonorm", "vehicle", "vowel", "waveform", "wdbc", "wine_quality_red",
    "wine_quality_white", "yeast", "zoo",
)
# fmt: on
ALIASES = {
    "austra": "australian",
    "australian_credit": "australian",
    "breast": "breast_cancer_wisconsin",
    "breast_w": "breast_cancer_wisconsin",
    "bupa": "liver_disorders",
    "german": "german_numer",
    "heart": "heart_statlog",
    "livers": "liver_disorders",
    "musk1": "clean1",
    "pima": "diabetes",
    "planning": "planning_relax",
    "ringnorm": "ring",
    "thyroid": "new_thyroid",
    "tic": "tic_tac_toe",
    "vote": "house_votes",
}

# What they are called at OpenML (version 1), and their rows and classes there: another table of the same name is
# refused. Those left out are not there, or with other labels or columns.
OPENML = {
    "australian": ("Australian", 690, 2),
    "balance_scale": ("balance-scale", 625, 3),
    "banana": ("banana", 5300, 2),
    "banknote": ("banknote-authentication", 1372, 2),
    "blood_transfusion": ("blood-transfusion-service-center", 748, 2),
    "breast_cancer_ljubljana": ("breast-cancer", 286, 2),
    "breast_cancer_wisconsin": ("breast-w", 699, 2),
    "car": ("car", 1728, 4),
    "clean1": ("clean1", 476, 2),
    "dermatology": ("dermatology", 366, 6),
    "diabetes": ("diabetes", 768, 2),
    "dna": ("dna", 3186, 3),
    "ecoli": ("ecoli", 336, 8),
    "fertility": ("fertility", 100, 2),
    "glass": ("glass", 214, 6),
    "haberman": ("haberman", 306, 2),
    "hayes_roth": ("hayes-roth", 160, 3),
    "heart_statlog": ("heart-statlog", 270, 2),
    "hepatitis": ("hepatitis", 155, 2),
    "house_votes": ("vote", 435, 2),
    "ilpd": ("ilpd", 583, 2),
    "ionosphere": ("ionosphere", 351, 2),
    "iris": ("iris", 150, 3),
    "kr_vs_kp": ("kr-vs-kp", 3196, 2),
    "letter": ("letter", 20000, 26),
    "lymphography": ("lymph", 148, 4),
    "magic": ("MagicTelescope", 19020, 2),
    "mushrooms": ("mushroom", 8124, 2),
    "new_thyroid": ("thyroid-new", 215, 3),
    "optdigits": ("optdigits", 5620, 10),
    "page_blocks": ("page-blocks", 5473, 5),
    "parkinsons": ("parkinsons", 195, 2),
    "pendigits": ("pendigits", 10992, 10),
    "phishing": ("PhishingWebsites", 11055, 2),
    "phoneme": ("phoneme", 5404, 2),
    "planning_relax": ("planning-relax", 182, 2),
    "ring": ("ringnorm", 7400, 2),
    "satimage": ("satimage", 6430, 6),
    "seeds": ("seeds", 210, 3),
    "segment": ("segment", 2310, 7),
    "sonar": ("sonar", 208, 2),
    "spambase": ("spambase", 4601, 2),
    "tic_tac_toe": ("tic-tac-toe", 958, 2),
    "twonorm": ("twonorm", 7400, 2),
    "vehicle": ("vehicle", 846, 4),
    "waveform": ("waveform-5000", 5000, 3),
    "wdbc": ("wdbc", 569, 2),
    "wine": ("wine", 178, 3),
    "wine_quality_red": ("wine-quality-red", 1599, 6),
    "wine_quality_white": ("wine-quality-white", 4898, 7),
    "yeast": ("yeast", 1484, 10),
    "zoo": ("zoo", 101, 7),
}


def load(name: str) -> Dataset:
    """The table in `tabular/NAME.csv.gz` of the data folder or the cache, else fetched from OpenML into the cache.

    What OpenML has is the same rows, but not always in the same order or coding: categories come as such, where other
    copies have a column of 0 and 1 for each. `letter` and `magic` are whole there.

    Raises:
        AlmetaError: if the file is damaged, or is nowhere and cannot be fetched.
    """
    if name not in OPENML:
        return load_stored(name, name, query=None)
    called, rows, classes = OPENML[name]
    return load_stored(name, name, {"name": called, "version": 1}, shape=(rows, classes))
