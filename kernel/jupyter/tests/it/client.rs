//! The typed client: runs cells, answers questions, interrupts, shuts down.

use bireme_jupyter::wire::{ExecuteRequest, IsCompleteReply, ReplyStatus};
use bireme_jupyter::{ExitReason, Frontend, FrontendMessage as M, ServeOptions};

use crate::kernel::TestKernel;
use crate::script::DEADLINE;

#[tokio::test]
async fn a_cell_is_run_and_its_outputs_are_read() {
    for is_ipc in [true, false] {
        let kernel = TestKernel::start_with(is_ipc, ServeOptions::default()).await;
        let frontend = Frontend::connect(&kernel.connection, DEADLINE)
            .await
            .unwrap();
        assert_eq!(frontend.kernel_info().await.unwrap().implementation, "echo");
        let execution = frontend
            .execute(ExecuteRequest::new("print a\ndisplay b\nc"))
            .await;
        let (messages, end) = execution.unwrap().collect().await.unwrap();
        assert_eq!(end.status, ReplyStatus::Ok);
        assert_eq!(end.reply.execution_count, 1);
        match messages.as_slice() {
            [
                M::ExecuteInput(input),
                M::Stream(stream),
                M::DisplayData(shown),
                M::ExecuteResult(value),
            ] => {
                assert_eq!(input.execution_count, 1);
                assert_eq!(stream.text, "a\n");
                assert_eq!(shown.data.plain_text(), Some("b"));
                assert_eq!(value.data.plain_text(), Some("c"));
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_failure_is_in_the_messages_and_in_the_end() {
    let kernel = TestKernel::start().await;
    let frontend = Frontend::connect(&kernel.connection, DEADLINE)
        .await
        .unwrap();
    let execution = frontend
        .execute(ExecuteRequest::new("fail so"))
        .await
        .unwrap();
    let (messages, end) = execution.collect().await.unwrap();
    assert_eq!(end.status, ReplyStatus::Error);
    let error = end.reply.error.unwrap();
    assert!(
        matches!(&messages[1], M::Error(told) if *told == error),
        "{messages:?}"
    );
}

#[tokio::test]
async fn a_cell_that_nobody_reads_holds_up_no_other() {
    let kernel = TestKernel::start().await;
    let frontend = Frontend::connect(&kernel.connection, DEADLINE)
        .await
        .unwrap();
    let unread = frontend
        .execute(ExecuteRequest::new("displays 1100 1"))
        .await
        .unwrap();
    let read = frontend
        .execute(ExecuteRequest::new("print on"))
        .await
        .unwrap();
    let (messages, end) = read.collect().await.unwrap();
    assert_eq!(end.status, ReplyStatus::Ok);
    assert!(
        matches!(&messages[1], M::Stream(stream) if stream.text == "on\n"),
        "{messages:?}"
    );
    assert!(unread.collect().await.is_err(), "it was given up");
}

#[tokio::test]
async fn questions_are_answered() {
    let kernel = TestKernel::start().await;
    let frontend = Frontend::connect(&kernel.connection, DEADLINE)
        .await
        .unwrap();
    let mut execution = frontend
        .execute(ExecuteRequest::new("ask who?"))
        .await
        .unwrap();
    let mut printed = String::new();
    while let Some(message) = execution.next().await.unwrap() {
        match message {
            M::InputRequest(question) => {
                assert_eq!(
                    (question.prompt.as_str(), question.password),
                    ("who?", false)
                );
                execution.answer("me").await.unwrap();
            }
            M::Stream(stream) => printed.push_str(&stream.text),
            _ => {}
        }
    }
    assert_eq!(printed, "me\n");
}

#[tokio::test]
async fn a_cell_is_interrupted_and_the_kernel_is_shut_down() {
    let kernel = TestKernel::start().await;
    let frontend = Frontend::connect(&kernel.connection, DEADLINE)
        .await
        .unwrap();
    let mut execution = frontend
        .execute(ExecuteRequest::new("sleep 60000"))
        .await
        .unwrap();
    assert!(matches!(
        execution.next().await.unwrap(),
        Some(M::ExecuteInput(_))
    ));
    let completed = frontend.complete("cle", 3).await.unwrap();
    assert_eq!(completed.matches, ["clear"]);
    assert!(frontend.inspect("print", 5).await.unwrap().found);
    assert_eq!(
        frontend.is_complete(")").await.unwrap(),
        IsCompleteReply::Invalid
    );
    frontend.interrupt().await.unwrap();
    let (_, end) = execution.collect().await.unwrap();
    assert_eq!(end.status, ReplyStatus::Error);
    frontend.shutdown(false).await.unwrap();
    assert_eq!(
        kernel.ended().await,
        ExitReason::Shutdown { restart: false }
    );
    assert!(frontend.kernel_info().await.is_err());
}
