//! What `strace -f -xx` wrote, read back.

/// One system call of any thread. `began` and `ended` are places in the trace: what ended before another began was done
/// before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SystemCall {
    pub(crate) began: usize,
    pub(crate) ended: usize,
    pub(crate) name: String,
    /// All between the brackets but the strings.
    arguments: String,
    /// All strings among the arguments, in order.
    pub(crate) strings: Vec<Vec<u8>>,
    /// What it returned; an error is below zero.
    pub(crate) result: i64,
}

impl SystemCall {
    /// The first argument, where it is a number.
    pub(crate) fn descriptor(&self) -> Option<i64> {
        self.arguments.split(',').next()?.trim().parse().ok()
    }

    /// The last argument, where it is a number.
    pub(crate) fn last_number(&self) -> Option<u64> {
        self.arguments.rsplit(',').next()?.trim().parse().ok()
    }

    /// Whether one of the flags is this one.
    pub(crate) fn has_flag(&self, flag: &str) -> bool {
        self.arguments
            .split([',', '|'])
            .any(|word| word.trim() == flag)
    }

    /// The path at this place among the strings.
    pub(crate) fn path(&self, place: usize) -> String {
        let path = self.strings.get(place).expect("the call has a path");
        String::from_utf8(path.clone()).expect("our paths are UTF-8")
    }
}

/// `\x61\x62`, as `-xx` writes every string.
fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.replace("\\x", "");
    hex::decode(digits).expect("strace writes two digits a byte")
}

/// Reads a whole trace; in the order in which the calls ended. A call that never ended is left out: nobody knows how far
/// it came.
pub(crate) fn read(trace: &str) -> Vec<SystemCall> {
    let mut begun: Vec<(&str, usize, String)> = Vec::new();
    let mut calls = Vec::new();
    for (place, line) in trace.lines().enumerate() {
        let Some((thread, told)) = line.split_once(' ') else {
            continue;
        };
        let told = told.trim_start();
        if let Some(start) = told.strip_suffix(" <unfinished ...>") {
            begun.push((thread, place, start.to_owned()));
        } else if let Some(rest) = told.strip_prefix("<... ") {
            let (_, rest) = rest.split_once(" resumed>").expect("strace says so");
            let of_thread = begun.iter().position(|(of, ..)| *of == thread);
            let (_, began, start) = begun.swap_remove(of_thread.expect("it has begun"));
            calls.extend(call(began, place, &(start + rest)));
        } else {
            calls.extend(call(place, place, told));
        }
    }
    calls.sort_by_key(|call| call.ended);
    calls
}

/// `name(arguments) = result …`; none for what is no call (`+++ killed by SIGKILL +++`) or has no result (`= ?`).
fn call(began: usize, ended: usize, told: &str) -> Option<SystemCall> {
    let (call, result) = told.rsplit_once(" = ")?;
    let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
    assert!(!arguments.contains("\"..."), "strace cut a string: {name}");
    Some(SystemCall {
        began,
        // The number of a file that is being closed may be another's before this one's call returns.
        ended: if name == "close" { began } else { ended },
        name: name.to_owned(),
        arguments: arguments.split('"').step_by(2).collect(),
        strings: arguments.split('"').skip(1).step_by(2).map(bytes).collect(),
        result: result.split_whitespace().next()?.parse().ok()?,
    })
}

#[test]
fn calls_of_two_threads_that_overlap_are_told_apart() {
    let calls = read(
        "7   pwrite64(9, \"\\x61\\x62\", 2, 40 <unfinished ...>\n\
         8   fsync(9)                          = 0\n\
         7   <... pwrite64 resumed>)           = 2\n\
         8   openat(AT_FDCWD, \"\\x2f\\x61\", O_WRONLY|O_CREAT|O_SYNC, 0600) = -1 EACCES (Permission denied)\n\
         8   fsync(9) = ?\n\
         8   +++ killed by SIGKILL +++\n",
    );
    let told: Vec<_> = calls
        .iter()
        .map(|it| (it.name.as_str(), it.began, it.ended, it.result))
        .collect();
    assert_eq!(
        told,
        [
            ("fsync", 1, 1, 0),
            ("pwrite64", 0, 2, 2),
            ("openat", 3, 3, -1)
        ]
    );
    assert_eq!(calls[1].strings, [b"ab"]);
    assert_eq!(
        (calls[1].descriptor(), calls[1].last_number()),
        (Some(9), Some(40))
    );
    assert!(calls[2].has_flag("O_SYNC") && !calls[2].has_flag("O_TRUNC"));
    assert_eq!(calls[2].path(0), "/a");
}
