"""The table of reproductions. A literal, so that a name can be searched for."""

from __future__ import annotations

from goodteacher_lab import sizes
from goodteacher_lab.deviations import eigenspace, noise, scatter, switching
from goodteacher_lab.deviations.runs import PROBLEMS
from goodteacher_lab.deviations.settings import PAIRS
from goodteacher_lab.humans import finding as humans
from goodteacher_lab.job import Reproduction
from goodteacher_lab.mse import binary, few_labels, tables, theorem, toy
from goodteacher_lab.mse.printed import TABLE1, TABLE2, TABLE3
from goodteacher_lab.predictors import finding as predictors
from goodteacher_lab.predictors.study import VECTORS
from goodteacher_lab.ptloss import finding as ptloss
from goodteacher_lab.soteacher import finding as soteacher

PAIRS1, PAIRS2, PAIRS3 = (
    tuple("-".join(pair) for pair in pairs) for pairs in ((*TABLE1, sizes.STAND_IN), (*TABLE2, sizes.STAND_IN), TABLE3)
)
MONTHS = "months; weeks on a GPU, in parts"
DEVIATIONS = {
    "minutes": "3 minutes, 15 with --images",
    "hours": "10 minutes, 6 hours with --images",
    "paper": "days, --images",
}
DEVIATING = "Nagarajan et al. (2023), student-teacher deviations"
TRAIN = sorted({n for size in sizes.SIZES["mse/theorem"].values() for n in size.train})

REPRODUCTIONS: dict[str, Reproduction] = {
    "predictors": Reproduction(
        predictors.predictors,
        "goodteacher's own: which held-out score of a teacher predicts its students",
        {"minutes": "15 minutes, 40 with --images", "hours": "3 hours", "paper": "a day"},
        {"problem": (*VECTORS, "images")},
    ),
    "mse/figure1": Reproduction(
        toy.figure1,
        "Hamidi et al. (ECCV 2024), figure 1: the toy Gaussian",
        {"minutes": "2 minutes", "hours": "25 minutes", "paper": "6 minutes"},
        {"targets": toy.PARTS},
    ),
    "mse/theorem": Reproduction(
        theorem.theorem,
        "Hamidi et al. (ECCV 2024), theorem 4.1",
        {"minutes": "1 minute", "hours": "15 minutes", "paper": "3 hours"},
        {"train": tuple(map(str, TRAIN))},
    ),
    "mse/table1": Reproduction(
        tables.table1,
        "Hamidi et al. (2024), Table 1: methods alone on CIFAR-100, cross-entropy against MSE teachers",
        {"minutes": "10 minutes", "hours": "5 hours", "paper": MONTHS},
        {"pair": PAIRS1, "method": sizes.METHODS1},
    ),
    "mse/table2": Reproduction(
        tables.table2,
        "Hamidi et al. (2024), Table 2: methods with KD on CIFAR-100, cross-entropy against MSE teachers",
        {"minutes": "10 minutes", "hours": "5 hours", "paper": MONTHS},
        {"pair": PAIRS2, "method": sizes.METHODS2},
    ),
    "mse/table3": Reproduction(
        tables.table3,
        "Hamidi et al. (2024), Table 3: ImageNet, cross-entropy against MSE teachers",
        {"minutes": "10 minutes on 20 classes", "hours": "5 hours", "paper": "months; weeks on several GPUs, in parts"},
        {"pair": PAIRS3, "method": sizes.METHODS3},
    ),
    "mse/figure2": Reproduction(
        few_labels.figure2,
        "Hamidi et al. (2024), Figure 2: semi-supervised CIFAR-10, cross-entropy against MSE teachers",
        {"minutes": "15 minutes", "hours": "5 hours", "paper": "months; days on a GPU"},
        {"labels": tuple(map(str, sizes.LABELS))},
    ),
    "mse/table4": Reproduction(
        binary.table4,
        "Hamidi et al. (2024), Table 4: two classes, cross-entropy against MSE teachers",
        {"minutes": "15 minutes a task", "hours": "5 hours a task", "paper": "weeks; days on a GPU"},
        {"task": binary.TASKS, "pairs": tuple(binary.PAIRS), "method": binary.METHODS4},
    ),
    "soteacher/figure1": Reproduction(
        soteacher.figure1,
        "Dong, Liu & Shang (2024), Figure 1: students by the epoch of their teacher",
        {"minutes": "2 minutes, up to 30 with --images", "hours": "10 hours", "paper": "weeks; a GPU"},
    ),
    "soteacher/table": Reproduction(
        soteacher.table,
        "Dong, Liu & Shang (2024), Tables 1 and 3: pairs, and the two terms apart",
        {"minutes": "2 minutes, up to 30 with --images", "hours": "4 hours", "paper": "weeks; a GPU"},
        {"pair": tuple(soteacher.PUBLISHED)},
    ),
    "ptloss/toy": Reproduction(
        ptloss.toy,
        "Zhang et al. (2023): proxy teachers on Gaussians whose true label distribution is known",
        {"minutes": "3 minutes", "hours": "20 minutes", "paper": "2 hours"},
    ),
    "ptloss/images": Reproduction(
        ptloss.images,
        "Zhang et al. (2023): proxy teachers, on pictures in place of text",
        {"minutes": "3 minutes, 20 with --images", "hours": "6 hours", "paper": "days; a GPU"},
    ),
    "deviations/scatter": Reproduction(
        scatter.scatter,
        f"{DEVIATING}: student against teacher confidence",
        DEVIATIONS,
        {"problem": PROBLEMS, "pair": tuple(PAIRS)},
    ),
    "deviations/noise": Reproduction(
        noise.noise, f"{DEVIATING}: noisy labels", DEVIATIONS, {"rate": tuple(f"{rate:g}" for rate in noise.RATES)}
    ),
    "deviations/switching": Reproduction(
        switching.switching,
        f"{DEVIATING}: early-stopped and loss-switching students",
        {**DEVIATIONS, "minutes": "2 minutes, 15 with --images"},
        {"problem": PROBLEMS},
    ),
    "deviations/eigenspace": Reproduction(
        eigenspace.eigenspace,
        f"{DEVIATING}: progress along eigendirections",
        {"minutes": "1 minute, 5 with --images", "hours": "20 minutes", "paper": "hours"},
        {"model": eigenspace.MODELS},
    ),
    "humans": Reproduction(
        humans.humans,
        "Peterson et al. (2019), CIFAR-10H; Dong, Liu & Shang (2024) and Hamidi et al. (2024) for what it is held against",
        {"minutes": "1 minute, 10 with --images", "hours": "8 hours", "paper": "weeks; a GPU"},
        {"part": humans.PARTS},
    ),
}
