//! A comparison as data: what `compare --json` prints and what is kept.

use serde_json::{Map, Value, json};
use tune::train::ability::Change;

use crate::{
    compare::{
        judge::Judged,
        result::{ArmResult, Comparison, Pair, Slice},
        scores::{Better, Metric},
    },
    eval::{answers::Maker, metrics::Mean},
};

/// Four digits behind the point: more are noise.
fn round(it: f64) -> Value {
    json!((it * 1e4).round() / 1e4)
}

fn mean(it: &Mean) -> Value {
    json!({ "mean": round(it.value), "interval": [round(it.low), round(it.high)] })
}

/// All figures of a comparison, its answers and its verdict.
#[must_use]
pub fn comparison(it: &Comparison) -> Value {
    let arms: Vec<Value> = it.arms.iter().map(arm).collect();
    let pairs: Vec<Value> = it.pairs.iter().map(|pair| of_pair(it, pair)).collect();
    let slices: Vec<Value> = it.slices.iter().map(|slice| of_slice(it, slice)).collect();
    let questions: Vec<Value> = (0..it.questions.len()).map(|i| question(it, i)).collect();
    let named: Vec<&str> =
        it.verdict.decision.arms().into_iter().map(|i| it.arms[i].arm.label.as_str()).collect();
    let made_by = |maker| it.questions.iter().filter(|it| it.generated == Some(maker)).count();
    json!({
        "n_questions": it.questions.len(),
        "questions_generated": made_by(Maker::Model),
        "questions_made_by_rules": made_by(Maker::Rules),
        "questions_left_out": it.n_left_out,
        "arms": arms,
        "pairs": pairs,
        "slices": slices,
        "judge": it.judged.as_ref().map(|judged| of_judge(it, judged)),
        "verdict": {
            "decision": it.verdict.decision.as_str(),
            "arms": named,
            "en": it.verdict.english,
            "fr": it.verdict.french,
        },
        "questions": questions,
    })
}

fn arm(it: &ArmResult) -> Value {
    let mut metrics = Map::new();
    for (metric, n, value) in &it.means {
        let mut value = mean(value);
        value["n"] = json!(n);
        metrics.insert(metric.as_str().to_owned(), value);
    }
    json!({
        "arm": it.arm.label,
        "way": it.arm.way.as_str(),
        "adapter": it.arm.adapter.as_ref().map(|it| &it.name),
        "metrics": metrics,
        "median_first_token_ms": round(it.first_ms),
        "median_total_ms": round(it.total_ms.0),
        "p90_total_ms": round(it.total_ms.1),
        "written_by": it.generators,
        "quoted_for_want_of_language": it.n_quoted,
        "truncated": it.n_truncated,
        "unanswerable_refused": it.n_refused,
        "weights_bytes": it.footprint.map(|it| it.weights_bytes),
        "memory_bytes": it.memory_bytes,
        "training_seconds": it.trained.seconds,
        "training_peak_bytes": it.trained.peak_bytes,
        "ability": it.trained.ability.as_ref().map(Change::json),
        "staleness": it.trained.stale.as_ref().map(|it| it.json(false)),
        "outdated": it.n_outdated,
        "questions_trained_on": it.trained.tells_documents.then_some(it.n_seen),
    })
}

fn of_pair(it: &Comparison, pair: &Pair) -> Value {
    let of = &pair.difference;
    let mut res = json!({
        "a": it.arms[pair.a].arm.label,
        "b": it.arms[pair.b].arm.label,
        "metric": pair.metric.as_str(),
        "n": of.n,
        "difference": round(of.mean.value),
        "interval": [round(of.mean.low), round(of.mean.high)],
        "p": of.p,
        "p_holm": pair.p_holm,
        "wins": of.wins,
        "ties": of.ties,
        "losses": of.losses,
        "largest": (pair.metric.better() == Better::Higher).then(|| round(of.largest)),
        "detectable": of.detectable.map(round),
        "more_questions": of.more_questions,
        "verdict": pair.outcome.as_str(),
    });
    if pair.metric == Metric::Right {
        let (only_a, only_b) = it.flipped(pair.a, pair.b);
        res["flipped"] = json!({ "only_a_right": only_a, "only_b_right": only_b });
    }
    res
}

fn of_judge(it: &Comparison, judged: &Judged) -> Value {
    let label = |i: usize| it.arms[i].arm.label.as_str();
    let pairs = judged.pairs.iter().map(|pair| {
        json!({
            "a": label(pair.a),
            "b": label(pair.b),
            "a_wins": pair.a_wins,
            "b_wins": pair.b_wins,
            "ties": pair.ties,
            "no_judgement": pair.nonsense,
            "p_holm": pair.p_holm,
        })
    });
    let agreement = judged.agreement.map(|it| {
        json!({
            "n": it.n,
            "agreed": it.agreed,
            "ties": it.ties,
            "share": round(it.agreed as f64 / it.n as f64),
            "interval": [round(it.interval.0), round(it.interval.1)],
        })
    });
    json!({
        "model": judged.model,
        "pairs": pairs.collect::<Vec<Value>>(),
        "agreement": agreement,
    })
}

fn of_slice(it: &Comparison, slice: &Slice) -> Value {
    let labels = it.arms.iter().map(|it| it.arm.label.clone());
    let right: Map<String, Value> = labels.zip(slice.right.iter().map(mean)).collect();
    json!({ "by": slice.by, "value": slice.value, "n": slice.n, "right": right })
}

fn question(it: &Comparison, i: usize) -> Value {
    let known = &it.questions[i];
    let trained_on: Vec<&str> = it
        .arms
        .iter()
        .filter(|arm| arm.was_trained_on(known))
        .map(|it| it.arm.label.as_str())
        .collect();
    let answers = it.arms.iter().enumerate().map(|(at, arm)| {
        let (reply, scores) = (&it.replies[i][at], &it.scores[i][at]);
        let scored = Metric::ALL
            .into_iter()
            .filter_map(|metric| Some((metric.as_str().to_owned(), round(scores.get(metric)?))));
        json!({
            "arm": arm.arm.label,
            "answer": reply.text,
            "refused": reply.refused,
            "generator": reply.generator,
            "truncated": reply.truncated,
            "sources": reply.sources,
            "sentences": reply.sentences.iter().map(|it| {
                let citations: Vec<usize> = it.citations.iter().map(|it| it + 1).collect();
                json!({ "text": it.text, "supported": it.supported, "citations": citations })
            }).collect::<Vec<Value>>(),
            "prompt_tokens": reply.n_prompt_tokens,
            "scores": scored.collect::<Map<String, Value>>(),
        })
    });
    json!({
        "question": known.question,
        "accepted": known.answers,
        "document": known.document,
        "language": known.language,
        "type": known.kind,
        "generated": known.generated,
        "outdated": known.outdated,
        "trained_on": trained_on,
        "answers": answers.collect::<Vec<Value>>(),
    })
}
