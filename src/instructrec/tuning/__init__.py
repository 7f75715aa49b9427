"""Corpus to Model: the tuning of a language model on instructions."""

from instructrec.training import SavePoints
from instructrec.tuning.config import TuneConfig
from instructrec.tuning.start import untuned
from instructrec.tuning.tune import Tuned, tune

__all__ = ["SavePoints", "TuneConfig", "Tuned", "tune", "untuned"]
