//! The command `bridge` as a process: with real media servers, and with recorded answers of media servers.

mod fakes;
mod hooks;
mod icecast;
mod icecast_server;
mod nginx;
mod nginx_outages;
mod nginx_server;
mod process;
mod recorded;
mod recorded_srs;
mod refuse;
mod refuse_recorded;
mod restarts;
mod store;
