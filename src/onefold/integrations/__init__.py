"""onefold inside of other people's training loops and folders of models.

`onefold.integrations.lightning` and `onefold.integrations.transformers` hold the callbacks. Each
imports its loop's package, which this module does not.
"""

from onefold.integrations.average import Average
from onefold.integrations.packages import loop_package

__all__ = ["Average", "loop_package"]
