use super::*;
use crate::chat::Turn;
use crate::generate::{Event, FinishReason};
use crate::golden::{folder_with_tokenizer, path as golden};
use crate::sample::SampleOptions;
use crate::testing::tiny_generator;

const SEED: u64 = 11;

fn service(batch_max: usize, queue_max: usize) -> Service {
    let number = |n| NonZeroUsize::new(n).unwrap();
    let options = ServeOptions { batch_max: number(batch_max), queue_max: number(queue_max) };
    Service::spawn(tiny_generator(SEED), options).unwrap()
}

fn request(text: &str, options: SampleOptions) -> Request {
    let prompt = tiny_generator(SEED).encode_chat(&[Turn::user(text)]).unwrap();
    Request { prompt, options, adapter: None }
}

fn greedy(tokens_max: usize) -> SampleOptions {
    SampleOptions { tokens_max, ..SampleOptions::default() }
}

/// Never ends by itself within its limit.
fn endless(tokens_max: usize) -> SampleOptions {
    SampleOptions { logit_bias: vec![(257, -1e9)], ..greedy(tokens_max) }
}

fn alone(request: &Request) -> Draft {
    let mut generator = tiny_generator(SEED);
    generator.run(request, &mut |_: Event<'_>| std::ops::ControlFlow::Continue(())).unwrap()
}

/// The draft is the same except for how much of its prompt was known.
#[track_caller]
fn check_same(actual: &Draft, expected: &Draft) {
    let known = Draft { n_cached_tokens: expected.n_cached_tokens, ..actual.clone() };
    assert_eq!(&known, expected);
}

fn wait_for_text(reply: &Reply) {
    loop {
        match reply.next().expect("a request that runs has news") {
            ReplyEvent::Text { .. } => return,
            ReplyEvent::Read { .. } => {}
            ReplyEvent::Done(result) => panic!("it ended before it wrote: {result:?}"),
        }
    }
}

#[test]
fn concurrent_requests_get_what_each_gets_alone() {
    let service = service(5, 32);
    let requests: Vec<Request> = (0..20)
        .map(|idx| {
            let text = "une question ".repeat(1 + idx * 7 % 40) + &idx.to_string();
            let options = SampleOptions {
                temperature: if idx % 3 == 0 { 0.0 } else { 0.9 },
                top_k: (idx % 2 == 0).then_some(40),
                repetition_penalty: 1.0 + idx as f32 / 50.0,
                seed: idx as u64,
                logprobs: (idx % 5 == 0).then_some(3),
                ..greedy(5 + idx * 3)
            };
            request(&text, options)
        })
        .collect();
    let replies: Vec<Reply> =
        requests.iter().map(|it| service.submit(it.clone()).unwrap()).collect();
    for (request, reply) in requests.iter().zip(replies) {
        check_same(&reply.wait().unwrap(), &alone(request));
    }
    assert_eq!(
        service.status(),
        ServiceStatus { n_waiting: 0, n_running: 0, gone: None },
        "every place is free again"
    );
}

#[test]
fn what_streams_is_what_the_draft_holds() {
    let service = service(2, 4);
    let options = SampleOptions { logprobs: Some(2), ..endless(30) };
    let request = request("bonjour", options);
    let n_prompt = request.prompt.len();
    let reply = service.submit(request).unwrap();
    let (mut streamed, mut streamed_scores) = (String::new(), Vec::new());
    while let Some(event) = reply.next() {
        match event {
            ReplyEvent::Read { n_tokens, n_prompt_tokens } => {
                assert!(n_tokens <= n_prompt && n_prompt_tokens == n_prompt);
            }
            ReplyEvent::Text { text, scores } => {
                streamed.push_str(&text);
                streamed_scores.extend(scores);
            }
            ReplyEvent::Done(draft) => {
                let draft = draft.unwrap();
                assert_eq!((&draft.text, &draft.scores), (&streamed, &streamed_scores));
                assert_eq!(draft.scores.len(), draft.n_tokens);
            }
        }
    }
    assert!(reply.next().is_none(), "nothing comes after the end");
}

#[test]
fn a_request_joins_while_another_writes_and_leaves_before_it() {
    let service = service(4, 4);
    let long = request("long", endless(800));
    let first = service.submit(long.clone()).unwrap();
    wait_for_text(&first);
    let short = request("short", greedy(3));
    check_same(&service.submit(short.clone()).unwrap().wait().unwrap(), &alone(&short));
    assert_eq!(service.status().n_running, 1, "the long one still runs");
    check_same(&first.wait().unwrap(), &alone(&long));
}

#[test]
fn a_long_prompt_does_not_hold_up_what_others_write() {
    let mut generator = tiny_generator(SEED);
    let mut writer = generator.start(&request("short", endless(50))).unwrap();
    generator.step(&mut [&mut writer]).unwrap();
    writer.take_outputs();
    let long = Request { prompt: (0..900).map(|it| it % 250).collect(), ..Request::default() };
    let mut reader = generator.start(&long).unwrap();
    let mut n_steps = 0;
    while reader.is_reading() {
        generator.step(&mut [&mut writer, &mut reader]).unwrap();
        n_steps += 1;
        assert_eq!(writer.ids.len(), writer.prompt().len() + 1 + n_steps, "a token in each step");
    }
    assert!(n_steps > 10, "in pieces: {n_steps}");
}

#[test]
fn requests_that_begin_alike_read_the_beginning_once() {
    let mut generator = tiny_generator(SEED);
    let shared: Vec<u32> = (0..200).map(|it| it * 7 % 250).collect();
    let mut sequences: Vec<Sequence> = (0..6)
        .map(|idx| {
            let prompt = [&shared[..], &[idx, idx + 1]].concat();
            generator.start(&Request { prompt, options: endless(4), adapter: None }).unwrap()
        })
        .collect();
    while sequences.iter().any(|it| !it.is_done()) {
        let mut left: Vec<&mut Sequence> =
            sequences.iter_mut().filter(|it| !it.is_done()).collect();
        generator.step(&mut left).unwrap();
    }
    let known = sequences.into_iter().map(|it| it.into_draft().unwrap().n_cached_tokens);
    assert_eq!(known.collect::<Vec<_>>(), [0, 200, 200, 200, 200, 200]);
}

#[test]
fn a_cancelled_request_frees_its_place_and_keeps_its_text() {
    let service = service(1, 4);
    let reply = service.submit(request("long", endless(900))).unwrap();
    let next = request("next", greedy(3));
    let waiting = service.submit(next.clone()).unwrap();
    wait_for_text(&reply);
    reply.cancel();
    let draft = reply.wait().unwrap();
    assert_eq!(draft.finish, FinishReason::Cancelled);
    assert!(draft.n_tokens > 0 && draft.n_tokens < 900);
    check_same(&waiting.wait().unwrap(), &alone(&next));
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let service = service(1, 4);
    let reply = service.submit(request("long", endless(900))).unwrap();
    wait_for_text(&reply);
    let next = request("next", greedy(3));
    let waiting = service.submit(next.clone()).unwrap();
    drop(reply);
    check_same(&waiting.wait().unwrap(), &alone(&next));
}

#[test]
fn a_full_queue_refuses_at_once() {
    let service = service(1, 2);
    let first = service.submit(request("long", endless(900))).unwrap();
    wait_for_text(&first);
    let second = service.submit(request("two", greedy(2))).unwrap();
    let third = service.submit(request("three", greedy(2))).unwrap();
    let refused = service.submit(request("four", greedy(2))).err();
    assert_eq!(refused, Some(SubmitError::Busy { waiting: 2 }));
    assert_eq!(service.status().n_waiting, 2);
    drop(first);
    second.wait().unwrap();
    third.wait().unwrap();
    service.submit(request("four", greedy(2))).unwrap().wait().unwrap();
}

#[test]
fn a_reader_that_reads_nothing_stops_nobody() {
    let service = service(2, 8);
    let lazy_request = request("lazy", endless(300));
    let lazy = service.submit(lazy_request.clone()).unwrap();
    for idx in 0..6 {
        let request = request(&format!("question {idx}"), greedy(20));
        check_same(&service.submit(request.clone()).unwrap().wait().unwrap(), &alone(&request));
    }
    // All of it waits in one piece.
    let expected = alone(&lazy_request);
    while service.status().n_running > 0 {
        thread::yield_now();
    }
    assert!(matches!(lazy.next(), Some(ReplyEvent::Read { .. })));
    let Some(ReplyEvent::Text { text, .. }) = lazy.next() else { panic!("no text") };
    assert_eq!(text, expected.text);
    check_same(&lazy.wait().unwrap(), &expected);
}

#[test]
fn a_wrong_request_fails_alone() {
    let service = service(4, 4);
    let good = request("good", greedy(10));
    let running = service.submit(good.clone()).unwrap();
    let reply = service.submit(Request { prompt: vec![9_999], ..Request::default() }).unwrap();
    let error = reply.wait().unwrap_err();
    assert!(matches!(error, ReplyError::Generate(GenerateError::UnknownToken { .. })), "{error}");
    let unknown = Request { adapter: Some("nobody".to_owned()), ..good.clone() };
    let error = service.submit(unknown).unwrap().wait().unwrap_err().to_string();
    assert!(error.contains("nobody") && error.contains("none"), "{error}");
    check_same(&running.wait().unwrap(), &alone(&good));
}

#[test]
fn shutdown_completes_what_was_taken() {
    let service = service(2, 8);
    let requests: Vec<Request> =
        (0..6).map(|idx| request(&format!("{idx}"), endless(20 + idx))).collect();
    let replies: Vec<Reply> =
        requests.iter().map(|it| service.submit(it.clone()).unwrap()).collect();
    service.shutdown();
    for (request, reply) in requests.iter().zip(replies) {
        check_same(&reply.wait().unwrap(), &alone(request));
    }
}

#[test]
fn dropping_the_service_cancels_what_runs() {
    let service = service(1, 8);
    let running = service.submit(request("one", endless(900))).unwrap();
    wait_for_text(&running);
    let waiting = service.submit(request("two", endless(900))).unwrap();
    drop(service);
    for reply in [running, waiting] {
        assert_eq!(reply.wait().unwrap().finish, FinishReason::Cancelled);
    }
}

#[test]
fn a_panic_reaches_every_client() {
    let number = |n| NonZeroUsize::new(n).unwrap();
    let options = ServeOptions { batch_max: number(2), queue_max: number(8) };
    let mut generator = tiny_generator(SEED);
    // Late enough that all are submitted by then.
    generator.panics_at = Some(300);
    let service = Service::spawn(generator, options).unwrap();
    let endless = request("text", endless(900));
    let replies: Vec<Reply> = (0..5).map(|_| service.submit(endless.clone()).unwrap()).collect();
    for reply in replies {
        let error = reply.wait().unwrap_err().to_string();
        assert!(error.contains("a test asked for it"), "{error}");
    }
    let refused = service.submit(request("text", greedy(1))).err();
    let Some(SubmitError::Gone { reason }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("a test asked for it"), "{reason}");
    assert_eq!(service.status().gone, Some(reason));
}

#[test]
fn clients_may_share_a_service_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Service>();
    check::<PromptEncoder>();
    check::<Reply>();
}

/// A service of a tiny model that has adapters.
fn adaptable() -> Service {
    let dir = folder_with_tokenizer("tiny-qwen2-folder", 70);
    let generator = Generator::load(dir.path()).unwrap();
    Service::spawn(generator, ServeOptions::default()).unwrap()
}

/// A request that the tiny model never ends by itself.
fn adapted(adapter: Option<&str>, tokens_max: usize) -> Request {
    let logit_bias = vec![(2, -1e9)];
    let options = SampleOptions { logit_bias, ..greedy(tokens_max) };
    Request { prompt: vec![5, 9, 13, 20], options, adapter: adapter.map(str::to_owned) }
}

#[test]
fn adapters_come_and_go_while_the_model_works() {
    let service = adaptable();
    let write = |adapter| service.submit(adapted(adapter, 40)).unwrap().wait();
    let adapter = service.load_adapter(&golden("adapter-all")).unwrap();
    let base = write(None).unwrap().text;
    service.add_adapter("legal", &adapter).unwrap();
    let path = golden("adapter-all");
    let listed = |n_requests| LoadedAdapter {
        name: "legal".to_owned(),
        path: path.clone(),
        n_matrices: 14,
        n_requests,
    };
    assert_eq!(service.adapters(), [listed(0)]);
    let changed = write(Some("legal")).unwrap().text;
    assert_ne!(changed, base);

    // A request keeps the adapter that it began with.
    let expected = service.submit(adapted(Some("legal"), 100)).unwrap().wait().unwrap();
    let running = service.submit(adapted(Some("legal"), 100)).unwrap();
    assert_eq!(service.adapters(), [listed(1)]);
    assert!(service.remove_adapter("legal"));
    assert!(!service.remove_adapter("legal"), "it is gone already");
    assert_eq!(service.adapters(), []);
    let error = write(Some("legal")).unwrap_err().to_string();
    assert!(error.contains("no adapter `legal`") && error.contains("none"), "{error}");
    check_same(&running.wait().unwrap(), &expected);
    assert_eq!(write(None).unwrap().text, base);

    // What the old one computed is not taken for another's of the same name.
    let mut zero = service.load_adapter(&golden("adapter-all")).unwrap();
    zero.scale(0.0);
    service.add_adapter("legal", &zero).unwrap();
    assert_eq!(write(Some("legal")).unwrap().text, base);
    service.add_adapter("legal", &adapter).unwrap();
    assert_eq!(write(Some("legal")).unwrap().text, changed);
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let service = adaptable();
    let other = service.load_adapter(&golden("adapter-plain")).unwrap_err();
    assert!(matches!(other, AdapterError::OtherBase { .. }), "{other}");
    // One that another service has loaded.
    let adapter = adaptable().load_adapter(&golden("adapter-all")).unwrap();
    service.add_adapter("same", &adapter).unwrap();
    let error = Service::spawn(tiny_generator(SEED), ServeOptions::default())
        .unwrap()
        .add_adapter("other", &adapter)
        .unwrap_err();
    assert!(matches!(error, AdapterError::OtherBase { .. }), "{error}");
    assert!(error.to_string().contains("adapter-all"), "{error}");
}
