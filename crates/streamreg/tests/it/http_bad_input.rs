//! Bad input over HTTP: each case is refused with its status and code, and changes nothing.
