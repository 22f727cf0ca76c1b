use std::error::Error;

use ptolemy_webhooks::samples;
use ptolemy_webhooks_sandbox::{Log, Sandbox};

async fn emit(url: &str, secret: String) -> Result<Log, Box<dyn Error>> {
    let sandbox = Sandbox::start().await; // stands in for Ptolemy, on a free port of 127.0.0.1
    let webhook = sandbox.register(url).await; // subscribed to every event type
    sandbox.set_secret(webhook.id(), secret)?; // the one that the receiver has
    sandbox.emit(samples::instrument_created()).await;
    sandbox.emit(samples::time_series_value_created()).await;
    Ok(sandbox.settle().await) // waits for the deliveries and their retries
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let secret = std::env::var("PTOLEMY_WEBHOOK_SECRET")?;
    let log = emit("http://127.0.0.1:3000/webhooks/ptolemy", secret).await?;
    println!("{log}");
    Ok(())
}
