"""What is worth learning from: pictures of a run with their labels, sampled, kept once, and exported."""
