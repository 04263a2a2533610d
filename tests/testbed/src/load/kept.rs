//! A connection that is kept, with a request every so often.

use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::gap::Gap;
use super::{AGAIN, Failure, Kept, Story};
use crate::https::{Connection, HttpsError, in_one_line};

pub(super) async fn run(story: Story, number: usize) -> Kept {
    let mut client = Client { story: &story, connection: None, connects: 0 };
    let mut gap = Gap::default();
    let (mut answers, mut failures) = (0, Vec::new());
    let mut may_retry_at_once = true;

    let mut ticks = interval_at(first(&story, number), story.options.kept_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while story.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let request = timeout(story.options.kept_timeout, client.request());
        let Some(answered) = story.stop.run_until_cancelled(request).await else { break };
        let error = match answered {
            Ok(Ok(())) => {
                answers += 1;
                may_retry_at_once = true;
                if gap.good(Instant::now()) {
                    story.answered();
                }
                continue;
            }
            Ok(Err(error)) => in_one_line(&error),
            Err(_elapsed) => format!("no answer within {:?}", story.options.kept_timeout),
        };
        failures.push(Failure { at: Instant::now(), error });
        client.connection = None;
        if std::mem::take(&mut may_retry_at_once) {
            ticks.reset_immediately();
        } else {
            ticks.reset_after(AGAIN);
        }
    }
    let reconnects = client.connects.saturating_sub(1);
    Kept { answers, reconnects, failures, signs: gap.end(Instant::now()) }
}

struct Client<'a> {
    story: &'a Story,
    connection: Option<Connection>,
    connects: u64,
}

impl Client<'_> {
    async fn request(&mut self) -> Result<(), HttpsError> {
        let options = &self.story.options;
        // Closed while nobody was asking: every HTTP client takes a new one without a word.
        let kept = self.connection.take().filter(|kept| !kept.is_closed());
        let connection = if let Some(kept) = kept {
            self.connection.insert(kept)
        } else {
            let new = Connection::secure(options.server, &self.story.identity).await?;
            self.connects += 1;
            self.connection.insert(new)
        };
        connection.get(&options.path).await.map(drop)
    }
}

/// Spread over one interval: clients do not ask in step.
fn first(story: &Story, number: usize) -> Instant {
    let share = u32::try_from(story.options.kept).unwrap_or(u32::MAX).max(1);
    let number = u32::try_from(number).unwrap_or_default();
    Instant::now() + story.options.kept_interval * number / share
}
