"""What several networks are to one another: do they share an origin, do they know the same?"""

from onefold.comparison.compare import Comparison, compare_networks
from onefold.comparison.rule import Evidence, Relation, gather

__all__ = ["Comparison", "Evidence", "Relation", "compare_networks", "gather"]
