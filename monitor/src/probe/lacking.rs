//! Which option a kernel was built without, by what it answered. Guesses by no version, and says nothing where
//! an answer can mean several things.

use std::error::Error;

use super::ProbeError;

/// What a kernel without the system call or the kind of program answers.
const NO_SUCH_CALL: i32 = 38;
const INVALID: i32 = 22;

/// The option to build the kernel with; `has_cgroup2`: whether it knows that file system.
pub fn lacking(error: &ProbeError, has_cgroup2: bool) -> Option<&'static str> {
    match error {
        // Else one only has to mount it.
        ProbeError::NoCgroup2 => (!has_cgroup2).then_some("CONFIG_CGROUPS"),
        ProbeError::Load(error) => match code(error)? {
            NO_SUCH_CALL => Some("CONFIG_BPF_SYSCALL"),
            _ => None,
        },
        ProbeError::Program { problem, .. } if has(problem, NO_SUCH_CALL) => {
            Some("CONFIG_BPF_SYSCALL")
        }
        // The verifier has more to say of what it refuses.
        ProbeError::Program { problem, .. } if has(problem, INVALID) && !is_verifiers(problem) => {
            Some("CONFIG_CGROUP_BPF")
        }
        _ => None,
    }
}

fn has(problem: &str, code: i32) -> bool {
    problem.contains(&format!("(os error {code})"))
}

fn is_verifiers(problem: &str) -> bool {
    problem.contains("BPF_PROG_LOAD") && !problem.contains(super::load::SILENT)
}

/// Of the first cause that has one.
fn code(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(it) = cause {
        if let Some(code) =
            it.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error)
        {
            return Some(code);
        }
        cause = it.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::load::SILENT;

    fn program(problem: &str) -> Option<&'static str> {
        let problem = problem.to_owned();
        lacking(&ProbeError::Program { name: "packet_egress", problem }, true)
    }

    #[test]
    fn the_option_is_named_where_the_answer_means_one_and_else_none() {
        assert_eq!(lacking(&ProbeError::NoCgroup2, false), Some("CONFIG_CGROUPS"));
        assert_eq!(lacking(&ProbeError::NoCgroup2, true), None);
        let refused = "the BPF_PROG_LOAD syscall returned";
        assert_eq!(
            program("can't be attached: Invalid argument (os error 22)"),
            Some("CONFIG_CGROUP_BPF")
        );
        assert_eq!(
            program(&format!("{refused} Invalid argument (os error 22): {SILENT}")),
            Some("CONFIG_CGROUP_BPF")
        );
        assert_eq!(
            program(&format!("{refused} Function not implemented (os error 38)")),
            Some("CONFIG_BPF_SYSCALL")
        );
        // A program that is too large or reads too much is no matter of an option.
        let verified = format!("{refused} Invalid argument (os error 22): 5: (61) r0 = 0");
        assert_eq!(program(&verified), None);
        assert_eq!(program("can't be attached: No space left on device (os error 28)"), None);
    }

    #[test]
    fn of_an_error_with_causes_the_first_code_counts() {
        let inner = std::io::Error::from_raw_os_error(NO_SUCH_CALL);
        assert_eq!(code(&inner), Some(38));
        let outer = ProbeError::Cgroup { path: "/sys/fs/cgroup".into(), source: inner };
        assert_eq!(code(&outer), Some(38));
        assert_eq!(code(&ProbeError::NoCgroup2), None);
    }
}
