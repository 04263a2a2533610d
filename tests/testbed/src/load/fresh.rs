//! A new connection every so often, each for one request.
//!
//! They do not wait for each other: a slow one delays no other, as it would delay no other client.

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Attempt, Story};
use crate::https::{Connection, HttpsError, in_one_line};

pub(super) async fn run(story: Story) -> Vec<Attempt> {
    let mut attempts = JoinSet::new();
    let mut ended = Vec::new();
    let mut ticks = interval(story.options.new_interval);
    // After a busy moment of the machine, no burst that no client would make.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while story.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        attempts.spawn(attempt(story.clone()));
        while let Some(Ok(attempt)) = attempts.try_join_next() {
            ended.push(attempt);
        }
    }
    ended.extend(attempts.join_all().await);
    ended
}

async fn attempt(story: Story) -> Attempt {
    let started = Instant::now();
    let answered = timeout(story.options.new_timeout, request(&story)).await;
    let took = started.elapsed();
    let error = match answered {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(in_one_line(&error)),
        Err(_elapsed) => Some(format!("no answer within {:?}", story.options.new_timeout)),
    };
    if error.is_none() {
        story.answered_new();
    }
    Attempt { started, took, error }
}

async fn request(story: &Story) -> Result<(), HttpsError> {
    let mut connection = Connection::secure(story.options.server, &story.identity).await?;
    connection.get(&story.options.path).await.map(drop)
}
