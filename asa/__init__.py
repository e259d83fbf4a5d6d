"""An autonomic service agent for bandwidth, on GRASP."""
