//! The tables of rights and views as `docs/access.md` shows them: rendered from the code, so that the page can't differ.

use crate::wire::{
    access::{RIGHTS, Reach, Role},
    view::{FIELDS, Shown, View},
};

fn table<const N: usize>(
    title: &str,
    columns: [&str; N],
    lines: impl Iterator<Item = (String, [&'static str; N])>,
) -> String {
    let mut text = format!("| {title} | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(N));
    for (name, cells) in lines {
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    text
}

fn rights() -> String {
    let reach = |reach| match reach {
        Reach::No => "",
        Reach::Own => "own",
        Reach::Any => "yes",
    };
    let lines = RIGHTS.iter().map(|(right, columns)| (right.name().to_owned(), columns.map(reach)));
    table("may", Role::ALL.map(Role::name), lines)
}

fn fields() -> String {
    let shown = |shown| match shown {
        Shown::Never => "",
        Shown::Always => "yes",
        Shown::Delivering => "while delivering",
        Shown::Open => "until it ends",
        Shown::Near => "while delivering, within 3 stops",
        Shown::Masked => "masked",
    };
    let lines = FIELDS.iter().map(|(field, columns)| (format!("`{field}`"), columns.map(shown)));
    table("field", View::ALL.map(View::name), lines)
}

#[test]
fn the_page_shows_the_tables() {
    let page = include_str!("../../../docs/access.md");
    for table in [rights(), fields()] {
        assert!(page.contains(&table), "docs/access.md should hold\n\n{table}");
    }
}
