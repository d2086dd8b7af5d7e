//! Makes sure that no child outlives the process that started it, however that one ends. The end-to-end tests start the
//! services this way too.
//!
//! `setpriv --pdeathsig KILL` (util-linux) asks the kernel to kill the child with its parent. The kernel means the parent
//! *thread*, and a test's thread may end before the server is done with, so one thread that lives as long as the process
//! starts all of them. Where there is no `setpriv`, a server outlives a parent that is killed with -9.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

type Order = (Command, Sender<io::Result<Child>>);

/// Starts the command from the thread that lives as long as this process.
///
/// # Errors
/// The program can't be run.
pub fn spawn(command: Command) -> io::Result<Child> {
    static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in receiver {
                // A starter that no longer waits has no use for its child.
                if let Err(unwanted) = answer.send(command.spawn())
                    && let Ok(mut child) = unwanted.0
                {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        });
        Mutex::new(sender)
    });
    let (answer, answered) = channel();
    let gone = || io::Error::other("the thread that starts servers is gone");
    orders
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

/// A command for `program` that the kernel kills with us, where that can be had.
pub fn command(program: &std::path::Path) -> Command {
    if setpriv_works() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Whether `setpriv` is there and knows the option; asked once.
fn setpriv_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}
