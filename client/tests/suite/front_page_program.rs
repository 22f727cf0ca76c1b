use ptolemy_webhooks::{Secret, Verifier};
use ptolemy_webhooks_client::{Client, Subscriptions};
use time::{Duration, OffsetDateTime};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // PTOLEMY_API_TOKEN (or PTOLEMY_API_TOKEN_FILE) and PTOLEMY_WORKSPACE.
    let client = Client::from_env()?;

    // Registers the endpoint and keeps its secret. The second run changes nothing.
    let webhook = client
        .webhooks()
        .ensure("https://your-app.example.com/webhooks/ptolemy")
        .label("production")
        .subscriptions(Subscriptions::all()) // or ["instrument.created", "instrument.updated"]
        .secret_file("webhook.secret") // or .secret_to(|secret| async { … })
        .await?;

    // Has the failed deliveries of the last two hours sent again.
    let two_hours_ago = OffsetDateTime::now_utc() - Duration::hours(2);
    let mut failed = client.deliveries().failed(&webhook.id).since(two_hours_ago);
    while let Some(delivery) = failed.try_next().await? {
        client.deliveries().redeliver(&delivery.id).await?;
    }

    // Rotates the secret: stores the new one first; then the receiver accepts it.
    let verifier = Verifier::new(Secret::from_file("webhook.secret")?);
    client
        .webhooks()
        .rotate_secret(&webhook.id)
        .secret_file("webhook.secret")
        .swap(&verifier)
        .await?;
    Ok(())
}
