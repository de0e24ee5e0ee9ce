//! A real terminal: a tmux server of its own, with one pane.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::cli::until;

/// A terminal that runs one command. After the command, it shows its exit status and the settings of the terminal.
pub(super) struct Terminal {
    dir: tempfile::TempDir,
}

impl Terminal {
    /// Starts a shell command in a terminal of this size.
    pub(super) fn start(command: &str, width: u16, height: u16) -> Self {
        let terminal = Self { dir: tempfile::tempdir().unwrap() };
        let script = terminal.dir.path().join("script");
        // `exec` makes the recorded process id that of the program. Ctrl-C must not end the script itself.
        let text = format!(
            "trap : INT\nsh -c 'echo $$ > \"$0\"; exec {command}' '{}'\necho \"exit status $?\"\nstty -a | grep -Eo -- '-?(icanon|echo) '\nexec cat",
            terminal.pid_file().display(),
        );
        std::fs::write(&script, text).unwrap();
        let (width, height) = (width.to_string(), height.to_string());
        let shell = format!("sh {}", script.display());
        terminal.tmux(&["new-session", "-d", "-x", &width, "-y", &height, &shell]);
        terminal
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.path().join("pid")
    }

    fn command(&self, args: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        tmux.args(["-u", "-f", "/dev/null", "-S"]).arg(self.dir.path().join("socket")).args(args);
        for variable in ["TMUX", "NO_COLOR", "CLICOLOR_FORCE", "COLUMNS", "STREAMREG_STORE", "STREAMREG_OUTPUT"] {
            tmux.env_remove(variable);
        }
        let output = tmux.env("LC_ALL", "C.UTF-8").env("SHELL", "/bin/sh").output();
        output.expect("tmux is missing; run scripts/setup to install it")
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = self.command(args);
        assert!(output.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Types keys, by their names in tmux.
    pub(super) fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"][..], keys].concat());
    }

    pub(super) fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Returns the text on the screen.
    pub(super) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Returns the text on the screen with the escape sequences of its colours.
    pub(super) fn styled_screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen meets a condition, and returns it.
    #[track_caller]
    pub(super) fn until(&self, description: &str, is_met: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(description, || {
                screen = self.screen();
                is_met(&screen)
            });
        }));
        assert!(waited.is_ok(), "{description}; the screen is:\n{screen}");
        screen
    }

    /// Waits until the screen contains a string.
    #[track_caller]
    pub(super) fn shows(&self, text: &str) -> String {
        self.until(&format!("the screen shows {text:?}"), |screen| screen.contains(text))
    }

    /// Sends a signal to the command.
    pub(super) fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(self.pid_file()).unwrap();
        assert!(Command::new("kill").args(["-s", name, pid.trim()]).status().unwrap().success());
    }

    /// Sends a signal to the program that the command, a shell, has started.
    pub(super) fn signal_child(&self, name: &str) {
        let shell = std::fs::read_to_string(self.pid_file()).unwrap();
        let done = Command::new("pkill").args(["--signal", name, "--parent", shell.trim()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits until the command exits with a status, and checks that the terminal is as it was before.
    #[track_caller]
    pub(super) fn ended(&self, status: i32) -> String {
        self.shows(&format!("exit status {status}\nicanon\necho\n"));
        self.is_restored()
    }

    /// Waits until the alternate screen and the mouse are off. Returns the screen.
    #[track_caller]
    pub(super) fn is_restored(&self) -> String {
        until("the terminal is restored", || {
            let modes = "#{alternate_on} #{mouse_any_flag} #{cursor_flag} #{wrap_flag}";
            self.tmux(&["display-message", "-p", modes]).trim() == "0 0 1 1"
        });
        self.screen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The server has already ended if its command has.
        self.command(&["kill-server"]);
    }
}
