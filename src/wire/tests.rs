mod before;
mod hostile;
mod invariants;
