//! The client against servers: raw ones, and the stand-in for Ptolemy.

mod calls;
mod ensure;
mod ensure_faults;
mod faults;
mod front_page;
mod hostile;
mod hygiene;
mod lists;
mod live_check;
mod raw_server;
mod repair;
mod rotation;
mod rotation_files;
mod secret_folder;
mod stand_in;
