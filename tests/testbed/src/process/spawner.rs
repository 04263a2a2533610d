//! The one thread that spawns processes; it ends only with this process.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

struct Order {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// Spawns `command` from that thread.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Order>> = OnceLock::new();

    let spawner = SPAWNER.get_or_init(|| {
        let (orders, received) = sync_channel(QUEUE);
        // Without the thread the receiver is gone, and every order is answered below.
        drop(thread::Builder::new().name("spawner".to_owned()).spawn(move || run(&received)));
        orders
    });
    let (answer, answered) = sync_channel(1);
    let gone = || io::Error::other("the spawner thread is gone");
    spawner.send(Order { command, answer }).map_err(|_order| gone())?;
    answered.recv().map_err(|_closed| gone())?
}

fn run(orders: &Receiver<Order>) {
    for Order { mut command, answer } in orders {
        // Who ordered waits for the answer.
        drop(answer.send(command.spawn()));
    }
}

const QUEUE: usize = 16;
