"""Evaluation: can an explanation be believed? Localisation, faithfulness, sanity, and what they amount to."""

from vislib.evaluation.asked import Asked
from vislib.evaluation.baselines import BASELINES
from vislib.evaluation.check import Check, CheckProgress, check
from vislib.evaluation.faithfulness import Curve, deletion, insertion
from vislib.evaluation.intervals import Interval, bootstrap
from vislib.evaluation.localisation import mass_accuracy, pointing_game, rank_accuracy
from vislib.evaluation.road import Road, impute, road
from vislib.evaluation.sanity import Stage, cascade, random_network, sanity_steps
from vislib.evaluation.similarity import rank_correlation, ssim
from vislib.evaluation.verdict import Verdict, summary, verdict

__all__ = [
    "BASELINES",
    "Asked",
    "Check",
    "CheckProgress",
    "Curve",
    "Interval",
    "Road",
    "Stage",
    "Verdict",
    "bootstrap",
    "cascade",
    "check",
    "deletion",
    "impute",
    "insertion",
    "mass_accuracy",
    "pointing_game",
    "random_network",
    "rank_accuracy",
    "rank_correlation",
    "road",
    "sanity_steps",
    "ssim",
    "summary",
    "verdict",
]
