"""int8: from a canonical graph and pictures to a plan, and from a plan to integers that both formats write."""
