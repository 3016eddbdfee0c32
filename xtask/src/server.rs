//! A child that serves until somebody asks it to stop.
//!
//! The child leads a process group of its own: a Ctrl-C in the terminal reaches this process
//! only, which then ends the group as a whole, so that no grandchild (wrangler's workerd) is
//! left behind.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const READY_TIMEOUT: Duration = Duration::from_secs(90);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// Starts `command`, prints `ready: http://ADDRESS` once it answers there, and returns when a
/// signal asked to stop and the whole group is gone. The child's output goes to standard error:
/// standard output is the ready line alone.
pub fn serve(command: &mut Command, address: SocketAddr) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    if TcpListener::bind(address).is_err() {
        bail!("{address} is in use; choose another with --port");
    }
    let our_stderr = std::io::stderr().as_fd().try_clone_to_owned()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::from(our_stderr))
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let group = Pid::from_child(&child);
    let started = Instant::now();
    let mut ready = false;
    let outcome = loop {
        if stop.load(Ordering::Relaxed) {
            break Ok(());
        }
        if let Some(status) = child.try_wait()? {
            break Err(anyhow::anyhow!("the server ended by itself ({status})"));
        }
        if !ready && answers(address) {
            ready = true;
            println!("ready: http://{address}");
            std::io::stdout().flush()?;
        }
        if !ready && started.elapsed() > READY_TIMEOUT {
            break Err(anyhow::anyhow!("no answer at {address} after {READY_TIMEOUT:?}"));
        }
        std::thread::sleep(POLL);
    };
    let _ = kill_process_group(group, Signal::TERM);
    let asked = Instant::now();
    while asked.elapsed() < STOP_TIMEOUT && test_kill_process_group(group).is_ok() {
        let _ = child.try_wait();
        std::thread::sleep(POLL);
    }
    // workerd waits for requests in flight before it ends; they had their time.
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
    outcome
}

/// A port nobody listens on right now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Whether an HTTP response comes back: an open port alone may be a proxy whose worker is not up.
fn answers(address: SocketAddr) -> bool {
    let timeout = Duration::from_secs(2);
    let Ok(mut socket) = TcpStream::connect_timeout(&address, timeout) else {
        return false;
    };
    let mut reply = [0; 5];
    socket.set_read_timeout(Some(timeout)).is_ok()
        && write!(socket, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").is_ok()
        && socket.read_exact(&mut reply).is_ok()
        && reply == *b"HTTP/"
}
