mod before;
mod hostile;
mod invariants;
mod tables;
