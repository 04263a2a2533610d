//! Prints which traps hold for which proxies: `trap-matrix [--gate] [TRAP...]`.
//!
//! HAProxy and nginx from the PATH, evenkeel and Envoy from the paths in the environment's
//! `EVENKEEL` and `ENVOY`; what is not there is left out.

use std::path::PathBuf;

use evenkeel_traps::{Effort, Envoy, Evenkeel, Haproxy, Kind, Nginx, Trap, matrix};

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = |trap: &Trap| arguments.iter().any(|argument| argument == trap.name());
    let mut traps: Vec<Trap> = Trap::ALL.into_iter().filter(named).collect();
    if traps.is_empty() {
        traps.extend(Trap::ALL);
    }
    let in_gate = arguments.iter().any(|argument| argument == "--gate");
    let effort = if in_gate { Effort::gate() } else { Effort::bench() };

    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let evenkeel = path("EVENKEEL").map(|binary| Kind::Evenkeel(Evenkeel { binary }));
    let envoy = path("ENVOY").map(|binary| Kind::Envoy(Envoy { binary }));
    let kinds: Vec<Kind> = [
        Some(Kind::Direct),
        evenkeel,
        Some(Kind::Haproxy(Haproxy { splice: false })),
        Some(Kind::Haproxy(Haproxy { splice: true })),
        Some(Kind::Nginx(Nginx { half_close: true })),
        Some(Kind::Nginx(Nginx { half_close: false })),
        envoy,
    ]
    .into_iter()
    .flatten()
    .collect();
    println!("{}", matrix(&kinds, &traps, effort, |cell| println!("{cell}")));
}
