//! How the kernel is asked to schedule data threads, by how busy they are.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

/// Clients that ask as fast as they are answered.
const CLIENTS: usize = 4;

/// The policies of all data threads, as sched(7) numbers them.
fn policies() -> Vec<u32> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    // A thread may end while it is looked at.
    let is_data = |task: &PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("evenkeel-data-"))
    };
    tasks.filter(is_data).filter_map(|task| policy_of(&task)).collect()
}

/// Field 41 of `proc_pid_stat(5)`; the name, field 2, may hold anything.
fn policy_of(task: &Path) -> Option<u32> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(41 - 3)?.parse().ok()
}

/// Waits until so many data threads have that policy.
async fn wait_for(policy: u32, threads: impl Fn(usize) -> bool) {
    let end = Instant::now() + SOON;
    loop {
        let policies = policies();
        if threads(policies.iter().filter(|other| **other == policy).count()) {
            return;
        }
        assert!(Instant::now() < end, "{policies:?}");
        // Nobody tells when it changes.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const NORMAL: u32 = libc::SCHED_OTHER.cast_unsigned();
const BATCH: u32 = libc::SCHED_BATCH.cast_unsigned();

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_busy_data_thread_makes_way_until_it_is_no_longer_busy() {
    let mut service = service("127.0.0.1:0", 100);
    let echo = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(echo, READY.0, READY.1)]);
    wait_for(NORMAL, |threads| threads == THREADS).await;
    let (address, is_over) = (service.address, Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let is_over = is_over.clone();
            thread::spawn(move || {
                let mut client = TcpStream::connect(address).unwrap();
                client.set_nodelay(true).unwrap();
                client.read_exact(&mut [0]).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    client.write_all(&[b'x'; 128]).unwrap();
                    client.read_exact(&mut [0; 128]).unwrap();
                }
            })
        })
        .collect();
    wait_for(BATCH, |threads| threads > 0).await;
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    wait_for(NORMAL, |threads| threads == THREADS).await;
    service.end().await;
}
