"""What pages are made of: read models that go beyond `explain`, as data and without presentation."""
