"""onefold inside of other people's training loops, and in their folders of models.

`onefold.integrations.lightning` and `onefold.integrations.transformers` hold the callbacks. Each
imports its loop's package, which this module does not.
"""

from onefold.integrations.average import Average
from onefold.integrations.pretrained import save_pretrained

__all__ = ["Average", "save_pretrained"]
