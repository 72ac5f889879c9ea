//! The `anteroom` command: every role of the product is one of its subcommands.

fn main() {}
