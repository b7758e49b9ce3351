mod hostile;
mod invariants;
