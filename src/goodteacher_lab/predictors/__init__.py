"""goodteacher's own study: which score of a teacher predicts its students."""
