//! The settings of a sandbox.

use std::time::Duration;

use crate::hosts::Hosts;
use crate::retries::Retries;
use crate::shape::Shape;

/// The settings with which a sandbox is started. The builder has the public setters.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) port: u16,
    pub(crate) seed: Option<u64>,
    pub(crate) workspace: Option<String>,
    pub(crate) retries: Retries,
    pub(crate) attempt_timeout: Duration,
    pub(crate) quota: u64,
    pub(crate) webhook_limit: usize,
    pub(crate) keep: usize,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) hosts: Hosts,
}

impl Settings {
    pub(crate) fn new() -> Self {
        Self {
            port: 0,
            seed: None,
            workspace: None,
            retries: Retries::new(),
            // Documented: the endpoint must answer within ten seconds.
            attempt_timeout: Duration::from_secs(10),
            quota: 1_000_000,
            webhook_limit: 25,
            keep: 10_000,
            shapes: Vec::new(),
            hosts: Hosts::Loopback,
        }
    }

    pub(crate) fn has(&self, shape: Shape) -> bool {
        self.shapes.contains(&shape)
    }
}
