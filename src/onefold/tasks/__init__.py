"""What networks are asked: tasks, their losses, means, divergences and scores.

Everything that scores or learns takes the task from here. `tasks` is the registry; a task of a
user's own is a class `Task`, registered by a name.
"""

from onefold.tasks.answers import Answers
from onefold.tasks.base import Bins, Reader, Rows, Tally, Targets, Task, has_answers, tasks
from onefold.tasks.binary import Binary, Multilabel
from onefold.tasks.calibration import Binning, Reliability
from onefold.tasks.classification import Classification, Segmentation, TokenClassification
from onefold.tasks.language_modeling import LanguageModeling
from onefold.tasks.mean_tally import MeanTally
from onefold.tasks.metrics import Metric, own_metrics
from onefold.tasks.regression import Numbers, Regression
from onefold.tasks.score import Score
from onefold.tasks.scores import Scores
from onefold.tasks.scoring import AUTO, Scoring, TaskChoice, as_scoring, as_task

__all__ = [
    "AUTO",
    "Answers",
    "Binary",
    "Binning",
    "Bins",
    "Classification",
    "LanguageModeling",
    "MeanTally",
    "Metric",
    "Multilabel",
    "Numbers",
    "Reader",
    "Regression",
    "Reliability",
    "Rows",
    "Score",
    "Scores",
    "Scoring",
    "Segmentation",
    "Tally",
    "Targets",
    "Task",
    "TaskChoice",
    "TokenClassification",
    "as_scoring",
    "as_task",
    "has_answers",
    "own_metrics",
    "tasks",
]
