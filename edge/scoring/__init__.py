"""From similarities to a decision: adapter, gallery, confidence, score fusion, cascade."""
