//! The `trunkline` binary: hands over to the library.

use std::process::ExitCode;

/// What a fix allocates on one thread is freed on another (cell, order actor, writer), which the C library's allocator
/// is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    trunkline::cli::main()
}
