//! Rules for all commands: secrets, exit codes, streams.

use crate::endpoint::Endpoint;
use crate::flawed::{Flaw, Receiver};
use crate::management::Account;
use crate::program::Folder;

#[test]
fn a_secret_in_an_argument_is_a_usage_error_that_does_not_quote_it() {
    let folder = Folder::new();
    for argument in [
        "whsec_a3f9b2c1d4e5f6a7b8c9d0e1",
        "--secret=whsec_a3f9b2c1d4e5f6a7b8c9d0e1",
        "ptk_live_0123456789abcdef",
        "https://user:hunter2@hooks.example.com/",
        "https:user:hunter2@hooks.example.com/",
        "postgres://127.0.0.1:1/inbox?user=a&password=hunter2",
        "postgres://app:hunter2/x@db/inbox",
    ] {
        let ended = folder.program(argument).may_show_secrets().run();
        let ended = ended.with_code(2);
        assert_eq!(ended.stdout, "");
        assert!(
            ended.stderr.starts_with("error: argument 1 contains "),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("a3f9") && !ended.stderr.contains("0123"));
        assert!(!ended.stderr.contains("hunter2"));
    }
}

#[test]
fn help_goes_to_standard_output_and_errors_of_usage_to_standard_error() {
    let folder = Folder::new();
    let help = folder.program("--help").run().with_code(0);
    assert!(help.stdout.contains("Usage:") && help.stderr.is_empty());
    let wrong = folder.program("--no-such-option").run().with_code(2);
    assert!(wrong.stdout.is_empty() && wrong.stderr.contains("--no-such-option"));
}

#[tokio::test]
async fn a_closed_pipe_ends_quietly_and_is_no_answer() {
    let account = Account::open().await;
    let receiver = Receiver::start(Flaw::TriesEmptySecret);
    let check = format!("check {} --only good-delivery,key-empty", receiver.url());
    let endpoint = Endpoint::answering(204).url;
    let sandbox = format!("sandbox --forward {endpoint}/ --emit market.created --no-page");
    let answers = [
        format!("{check} --json"),
        check,
        format!("{sandbox} --until-delivered --json"),
        format!("{sandbox} --until-delivered"),
        format!("send {endpoint} --json"),
        format!("send {endpoint} --count 2"),
        "why --request request.http".to_owned(),
        "doctor".to_owned(),
        "doctor --json".to_owned(),
    ];
    let data = [
        "check --list".to_owned(),
        "check --list --json".to_owned(),
        format!("{sandbox} --json"),
        "send --print".to_owned(),
        "webhooks --json".to_owned(),
        "completions bash".to_owned(),
        "man".to_owned(),
    ];
    let print = account.program("send --print");
    let request = print.variable("PTOLEMY_WEBHOOK_SECRET", crate::flawed::SECRET);
    let request = request.run().with_code(0).bytes;
    std::fs::write(account.folder.path("request.http"), request).unwrap();
    account.sandbox.register(format!("{endpoint}/")).await;
    let answers = answers.iter().map(|arguments| (arguments, 1));
    for (arguments, code) in answers.chain(data.iter().map(|arguments| (arguments, 0))) {
        let program = account.program(arguments);
        let program = program.variable("PTOLEMY_WEBHOOK_SECRET", crate::flawed::SECRET);
        let mut running = program.start();
        drop(running.0.stdout.take());
        let mut stderr = String::new();
        let mut pipe = running.0.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut pipe, &mut stderr).unwrap();
        assert_eq!(
            running.0.wait().unwrap().code(),
            Some(code),
            "{arguments}: {stderr}"
        );
        assert!(!stderr.contains("error"), "{arguments}: {stderr}");
        // The results of a check are not repeated on standard error.
        assert!(!stderr.contains("probe"), "{arguments}: {stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_is_full_is_an_error_for_help_too() {
    for arguments in ["--help", "send --help", "--version", "check --list"] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_ptolemy-webhooks"))
            .args(arguments.split(' '))
            .stdout(full.unwrap())
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(1), "{arguments}");
        let stderr = String::from_utf8(ended.stderr).unwrap();
        let begin = "error: standard output: No space left on device";
        assert!(stderr.starts_with(begin), "{arguments}: {stderr}");
    }
}

#[cfg(unix)]
#[test]
fn a_temporary_folder_that_cannot_be_made_names_what_can_be_changed() {
    let folder = Folder::new();
    std::fs::write(folder.path("file"), "").unwrap();
    for (arguments, part) in [
        ("sandbox", "--folder can name another folder"),
        (
            "inspect --forward http://127.0.0.1:9/ --port 0 --page-port 0 --json",
            "TMPDIR can name another folder",
        ),
    ] {
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_ptolemy-webhooks"))
            .args(arguments.split(' '))
            .env("TMPDIR", folder.path("file"))
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(1), "{arguments}");
        let stderr = String::from_utf8(ended.stderr).unwrap();
        let end = format!("; {part}\n");
        assert!(stderr.ends_with(&end), "{arguments}: {stderr}");
    }
}

#[test]
fn colours_are_not_printed_without_a_terminal() {
    let folder = Folder::new();
    for arguments in ["--help", "--no-such-option"] {
        let ended = folder.program(arguments).run();
        assert!(!ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_with_a_secret_that_others_can_use_is_a_warning_when_it_is_read() {
    use std::os::unix::fs::PermissionsExt as _;

    let account = Account::open().await;
    let open = |name: &str, text: &str| {
        let path = account.folder.secret_file(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path
    };
    let token = open("token", account.sandbox.token());
    let secret = open("secret", "whsec_0123456789abcdef01234567");
    let database = open("database", "sqlite://none.db");
    for (name, arguments, variable, path) in [
        ("token", "webhooks", "PTOLEMY_API_TOKEN_FILE", token),
        ("database", "inbox stats", "DATABASE_URL_FILE", database),
        (
            "secret",
            "sandbox --forward http://127.0.0.1:9/ --emit instrument.created --until-delivered --attempts 1",
            "PTOLEMY_WEBHOOK_SECRET_FILE",
            secret,
        ),
    ] {
        let program = account.folder.program(arguments).variable(variable, &path);
        let ended = program
            .variable("PTOLEMY_API_URL", account.sandbox.url())
            .variable("PTOLEMY_WORKSPACE", account.sandbox.workspace());
        let ended = ended.run();
        let warning = format!("warning: file {} has mode 644", path.display());
        assert!(ended.stderr.contains(&warning), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains("chmod 600"), "{}", ended.stderr);
    }
}
