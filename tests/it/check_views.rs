//! The script that looks through a day's bytes for what a role may not see, on a small made-up day: it finds nothing where
//! nothing is, and every secret that is planted.

use std::process::Command;

#[test]
fn finds_every_planted_secret_and_nothing_else() {
    let ran = Command::new("python3").args(["scripts/check-views", "--self-test"]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    for view in ["customer", "shared", "rider", "warehouse", "operations"] {
        let line = said.lines().find(|line| line.starts_with(view) && line.contains("planted")).unwrap();
        assert!(!line.contains(" 0 secrets"), "{line}");
    }
}
