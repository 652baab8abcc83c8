"""The numbers that the advice depends on, each with its reason."""

from __future__ import annotations

# Length of a task vector over that of the weights. Two networks that were trained apart are 1.4
# lengths away from one another, as vectors at a right angle are; fine-tunes change a few
# hundredths.
UNRELATED = 0.5
# A task vector that is longer than this adds to the others' noise when several are summed at full
# weight: four of them at right angles move the weights by twice as much.
LONG = 0.2
# Cosines. Task vectors of unrelated tasks lie near 0; the mean of two at cosine c keeps the share
# sqrt((1 + c) / 2) of their length, which is 0.87 at 0.5.
SAME_DIRECTION = 0.5
OPPOSED = -0.1
# The cosine of two siblings seen from a third of equal length is 0.5, as they share its task vector
# with the other sign; seen from their base it is near 0. The limit lies between.
SIBLINGS = 0.35
# The largest changes of a tensor: the fifth that TIES keeps in its authors' experiments.
LARGEST = 0.2
# Independent signs differ in half of the places. Below this share a vote on signs changes little.
CONFLICTS = 0.3
