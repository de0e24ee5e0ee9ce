//! The terminal: raw mode and the alternate screen, and how both end, however the program ends.

use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui_crossterm::crossterm::cursor::{Hide, Show};
use ratatui_crossterm::crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use ratatui_crossterm::crossterm::execute;
use ratatui_crossterm::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Exit status of a program that has panicked, as Rust uses it.
const PANICKED: i32 = 101;

/// Whether the terminal has to be restored.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// The terminal in raw mode, with the alternate screen. Dropping it restores the terminal. A panic in any thread
/// restores it too, prints its message, and ends the program: otherwise the program would draw over the message.
pub struct Screen(());

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    ///
    /// Fails if this process has no terminal for reading keys.
    pub fn enter() -> io::Result<Self> {
        restore_after_panic();
        let screen = Self(());
        screen.resume()?;
        Ok(screen)
    }

    /// Takes the terminal over again, e.g. after the shell has continued a stopped program.
    pub(super) fn resume(&self) -> io::Result<()> {
        if ENTERED.swap(true, Ordering::SeqCst) {
            // The program was stopped without notice, and the shell has changed the settings of the terminal.
            disable_raw_mode()?;
            enable_raw_mode()?;
            return execute!(Terminal, EnableMouseCapture, Hide);
        }
        enable_raw_mode()?;
        execute!(Terminal, EnterAlternateScreen, EnableMouseCapture, Hide)
    }

    /// Restores the terminal and stops the program, until the shell continues it.
    #[cfg(unix)]
    pub(super) fn suspend(&self) -> io::Result<()> {
        restore();
        rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)?;
        self.resume()
    }

    /// Programs cannot be stopped here.
    #[cfg(not(unix))]
    pub(super) fn suspend(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Leaves raw mode when the program must exit although the terminal accepts no output.
pub(super) fn give_up() {
    // An error cannot be reported anywhere.
    let _ = disable_raw_mode();
}

fn restore() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        // An error means that the terminal has gone.
        let _ = execute!(Terminal, DisableMouseCapture, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

fn restore_after_panic() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let entered = ENTERED.load(Ordering::SeqCst);
            restore();
            previous(panic);
            if entered {
                std::process::exit(PANICKED);
            }
        }));
    });
}

/// Standard output without the lock of the standard library, which the main thread holds: a panic in another thread
/// must be able to restore the terminal.
pub(super) struct Terminal;

#[cfg(unix)]
impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(not(unix))]
impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}
