//! The files of `docs/deploy` agree with the code, with each other, and with what Ptolemy
//! documents.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// How long the receiver takes to stop at most, as its `--help` says.
const STOP_SECONDS: u32 = 25;

/// Ptolemy waits this long for an answer, as its documentation says.
const ANSWER_SECONDS: u32 = 10;

const FILES: [&str; 7] = [
    "Dockerfile",
    "Dockerfile.dockerignore",
    "grants.sql",
    "kubernetes.yaml",
    "nginx.conf",
    "ptolemy-receiver.service",
    "roles.sql",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn deployed(name: &str) -> String {
    read(&format!("docs/deploy/{name}"))
}

/// The text of a file or of all files below a folder.
fn all_of(path: &Path) -> String {
    match path.is_dir() {
        true => {
            let entries = fs::read_dir(path).unwrap();
            let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths.iter().map(|path| all_of(path)).collect()
        }
        false => fs::read_to_string(path).unwrap(),
    }
}

fn read_page() -> String {
    read("docs/deploy.md")
}

/// The source of the receiver that the files start.
fn receiver() -> String {
    all_of(&root().join("inbox/examples/durable_receiver.rs"))
}

/// What follows this text in the only line that begins with it, up to the end of the word.
fn setting<'t>(text: &'t str, name: &str) -> &'t str {
    let lines = text.lines().map(str::trim);
    let values: Vec<_> = lines.filter_map(|line| line.strip_prefix(name)).collect();
    let [value] = values[..] else {
        panic!("{name}: {values:?}");
    };
    let value = value.trim().trim_end_matches(';');
    value.split_whitespace().next().unwrap()
}

fn seconds(text: &str, name: &str) -> u32 {
    let value = setting(text, name);
    let value = value.strip_suffix('s').unwrap_or(value);
    value.parse().unwrap_or_else(|_| panic!("{name}: {value}"))
}

/// A time of nginx, such as `500ms` or `6s`.
fn milliseconds(text: &str, name: &str) -> u32 {
    let value = setting(text, name);
    match value.strip_suffix("ms") {
        Some(value) => value.parse().unwrap(),
        None => seconds(text, name) * 1000,
    }
}

#[test]
fn orchestrators_wait_longer_than_the_receiver_takes_to_stop() {
    let stop = format!("{STOP_SECONDS} s");
    assert!(
        receiver().contains(&stop),
        "the receiver names another time"
    );

    let unit = deployed("ptolemy-receiver.service");
    assert!(seconds(&unit, "TimeoutStopSec=") >= STOP_SECONDS + 5);

    let manifest = deployed("kubernetes.yaml");
    let before = seconds(&manifest, "seconds:");
    let grace = seconds(&manifest, "terminationGracePeriodSeconds:");
    assert!(grace >= before + STOP_SECONDS + 5, "{grace} {before}");
}

#[test]
fn nginx_waits_for_an_accept_and_answers_before_ptolemy_has_given_up() {
    let nginx = deployed("nginx.conf");
    let connect = milliseconds(&nginx, "proxy_connect_timeout");
    let send = milliseconds(&nginx, "proxy_send_timeout");
    let read = milliseconds(&nginx, "proxy_read_timeout");
    let inbox = read_constant("inbox/src/inbox.rs", "ACCEPT_TIMEOUT: Duration");
    let accept = inbox.trim_start_matches("Duration::from_secs(");
    let accept: u32 = accept.trim_end_matches(')').parse().unwrap();
    assert!(read > accept * 1000, "{read} {accept}");

    // The second receiver may be asked until the end of this time, and then takes its own.
    let second = milliseconds(&nginx, "proxy_next_upstream_timeout");
    let answer = second + connect + send + read;
    assert!(answer < ANSWER_SECONDS * 1000, "{answer}");
    let page = read_page();
    let row = "| nginx answers at the latest, once it has the body |";
    assert!(page.contains(&format!("{row} {} s |", f64::from(answer) / 1000.0)));
    // Otherwise a receiver that does not take the connection is the only one that is asked.
    assert!(connect < second, "{connect} {second}");
    assert_eq!(setting(&nginx, "proxy_next_upstream_tries"), "2");
    assert!(nginx.contains("proxy_next_upstream error timeout non_idempotent;"));
}

/// The value of a constant in a source file.
fn read_constant(file: &str, name: &str) -> String {
    let source = read(file);
    let (_, rest) = source.split_once(&format!("const {name} = ")).unwrap();
    rest.split_once(';').unwrap().0.to_owned()
}

#[test]
fn a_body_that_is_too_long_is_rejected_by_the_receiver_before_nginx_does() {
    let limit = read_constant("src/verify.rs", "DEFAULT_BODY_LIMIT: usize");
    assert_eq!(limit, "1024 * 1024");
    let nginx = deployed("nginx.conf");
    let megabytes = setting(&nginx, "client_max_body_size").trim_end_matches('m');
    assert!(megabytes.parse::<u32>().unwrap() > 1, "{megabytes}");
}

/// What an open request with a body of 1 MiB takes, as the page says from a measurement.
const REQUEST_MEGABYTES: f64 = 1.5;

/// What a receiver takes that has no open request.
const IDLE_MEGABYTES: f64 = 25.0;

#[test]
fn memory_is_limited_above_what_the_open_requests_take() {
    let nginx = deployed("nginx.conf");
    let server = nginx
        .lines()
        .filter_map(|line| line.split_once("max_conns="));
    let connections: Vec<f64> = server
        .filter_map(|(_, rest)| rest.trim_end_matches(';').parse().ok())
        .collect();
    assert_eq!(connections.len(), 2);
    // Without a zone, each process of nginx counts its own connections.
    assert!(nginx.contains("zone receivers "));

    let unit = deployed("ptolemy-receiver.service");
    let manifest = deployed("kubernetes.yaml");
    let (_, limits) = manifest.split_once("limits:").unwrap();
    let page = read_page();
    let (_, docker) = page.split_once("--memory=").unwrap();
    let limits = [
        setting(&unit, "MemoryMax=").trim_end_matches('M'),
        setting(limits, "memory:").trim_end_matches("Mi"),
        docker.split_once('m').unwrap().0,
    ];
    for limit in limits {
        let limit: f64 = limit.parse().unwrap();
        for connections in &connections {
            assert!(IDLE_MEGABYTES + connections * REQUEST_MEGABYTES < limit);
        }
    }
    assert!(page.contains(&format!("{REQUEST_MEGABYTES} MB for each open request")));
}

#[test]
fn the_tables_are_made_without_a_run_of_the_receiver() {
    let page = read_page();
    let (steps, _) = page.split_once("## What was run").unwrap();
    assert_eq!(steps.matches("ptolemy-webhooks inbox migrate").count(), 2);
    assert!(!page.contains("timeout --preserve-status"));
}

#[test]
fn an_image_is_built_without_secrets() {
    let ignored = deployed("Dockerfile.dockerignore");
    for name in ["*.secret*", "database.url", "ca.crt", ".env*", "inbox.db*"] {
        assert!(ignored.contains(&format!("\n**/{name}\n")), "{name}");
    }
    assert!(!read_page().contains("-m 0444"));
}

#[test]
fn a_command_that_is_repeated_keeps_the_previous_secret() {
    let page = read_page();
    let made: Vec<_> = page
        .lines()
        .filter(|line| line.contains("/dev/null "))
        .collect();
    assert!(!made.is_empty());
    for line in made {
        assert!(line.starts_with("test -e "), "{line}");
        assert!(line.contains(" || install "), "{line}");
    }
}

#[test]
fn a_database_outage_neither_restarts_pods_nor_blocks_the_drain_of_a_node() {
    let manifest = deployed("kubernetes.yaml");
    assert_eq!(
        setting(&manifest, "unhealthyPodEvictionPolicy:"),
        "AlwaysAllow"
    );
}

#[test]
fn pods_reach_postgresql_and_its_pooler() {
    let manifest = deployed("kubernetes.yaml");
    let (_, egress) = manifest.split_once("  egress:\n").unwrap();
    for port in [53, 5432, 6432] {
        assert!(egress.contains(&format!("- port: {port}\n")), "{port}");
    }
}

#[test]
fn ports_and_paths_are_those_of_the_receiver() {
    const PORT: &str = "3000";
    const PATH: &str = "/webhooks/ptolemy";
    let receiver = receiver();
    assert!(receiver.contains(&format!("\"127.0.0.1:{PORT}\"")));
    assert!(receiver.contains(&format!("\"{PATH}\"")));

    let nginx = deployed("nginx.conf");
    assert!(nginx.contains(&format!("location = {PATH} {{")));
    assert!(nginx.contains(&format!("server 127.0.0.1:{PORT} max_fails=0 max_conns=")));

    let unit = deployed("ptolemy-receiver.service");
    let listen = setting(&unit, "Environment=PTOLEMY_LISTEN=");
    assert_eq!(listen, format!("127.0.0.1:{PORT}"));

    let manifest = deployed("kubernetes.yaml");
    assert_eq!(setting(&manifest, "containerPort:"), PORT);
    assert!(manifest.contains(&format!("value: 0.0.0.0:{PORT}\n")));
    assert!(manifest.contains(&format!("- port: {PORT}\n")));

    let image = deployed("Dockerfile");
    assert_eq!(setting(&image, "EXPOSE"), PORT);
    assert!(image.contains(&format!("PTOLEMY_LISTEN=0.0.0.0:{PORT} ")));
    assert!(image.contains(&format!("/dev/tcp/127.0.0.1/{PORT} ")));
}

#[test]
fn probes_ask_for_liveness_and_readiness_in_time() {
    let manifest = deployed("kubernetes.yaml");
    let probe = |name: &str| {
        let (_, rest) = manifest.split_once(name).unwrap();
        rest.split_once("failureThreshold").unwrap().0.to_owned()
    };
    let (live, ready) = (probe("livenessProbe:"), probe("readinessProbe:"));
    assert_eq!(setting(&live, "path:"), "/healthz");
    assert_eq!(setting(&ready, "path:"), "/readyz");
    for path in ["\"/healthz\"", "\"/readyz\""] {
        assert!(receiver().contains(path), "{path}");
    }
    // An accept may take 5 s.
    assert!(seconds(&ready, "timeoutSeconds:") > 5);
    assert!(deployed("Dockerfile").contains("GET /healthz HTTP/1.0"));
    // Neither is for the outside.
    assert!(!deployed("nginx.conf").contains("location = /healthz"));
}

/// The words of the files that look like variables of the environment.
fn variables(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
    let words = text.split(|c| !is_part(c));
    let own = |word: &&str| word.starts_with("PTOLEMY_") || *word == "DATABASE_URL";
    words.filter(own).collect()
}

#[test]
fn every_variable_is_one_that_the_receiver_reads() {
    let sources = read("src/verify.rs") + &receiver();
    let known = variables(&sources);
    let mut seen = 0;
    for file in FILES {
        for variable in variables(&deployed(file)) {
            assert!(known.contains(&variable), "{file}: {variable}");
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn no_file_contains_a_secret_or_logs_a_header() {
    for file in FILES {
        let text = deployed(file).to_lowercase();
        assert!(!text.contains("whsec_"), "{file}");
        assert!(!text.contains("password '"), "{file}");
    }
    let nginx = deployed("nginx.conf");
    for variable in ["$http_", "$request_body", "$request ", "$args", "$query"] {
        assert!(!nginx.contains(variable), "{variable}");
    }
}

#[test]
fn the_read_only_role_sees_every_column_but_those_with_contents() {
    let table = read("inbox/migrations/postgres/1_inbox.sql");
    let (table, _) = table.split_once("\n)").unwrap();
    let columns = table.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.split(' ').next()?;
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        (is_name && !name.is_empty()).then_some(name)
    });
    let expected: Vec<_> = columns
        .filter(|column| !["body", "last_error"].contains(column))
        .collect();
    let grants = deployed("grants.sql");
    let (_, rest) = grants.split_once("GRANT SELECT (").unwrap();
    let granted: Vec<_> = rest.split_once(')').unwrap().0.split(',').collect();
    let granted: Vec<_> = granted.iter().map(|column| column.trim()).collect();
    assert!(expected.len() > 20, "{expected:?}");
    assert_eq!(granted, expected);
}

#[test]
fn the_image_is_built_with_a_compiler_and_features_that_the_receiver_needs() {
    let image = deployed("Dockerfile");
    let version = |text: &str| -> Vec<u32> {
        let parts = text.split(['.', '-']).map_while(|part| part.parse().ok());
        parts.take(2).collect()
    };
    let compiler = version(setting(&image, "FROM rust:"));
    let inbox = read("inbox/Cargo.toml");
    let needed = setting(&inbox, "rust-version =")
        .trim_matches('"')
        .to_owned();
    assert!(compiler >= version(&needed), "{compiler:?} {needed}");

    // The features that the example needs, those of a deployment, and no unknown one.
    let (_, rest) = image
        .split_once("--example durable_receiver --features ")
        .unwrap();
    let features: Vec<_> = rest.split(' ').next().unwrap().split(',').collect();
    let (_, example) = inbox
        .split_once("[[example]]\nname = \"durable_receiver\"\nrequired-features = [")
        .unwrap();
    let required = example.split_once(']').unwrap().0.split(", ");
    let required = required.map(|feature| feature.trim_matches('"'));
    for feature in required.chain(["postgres", "tls"]) {
        assert!(features.contains(&feature), "{feature}: {features:?}");
    }
    for feature in &features {
        assert!(inbox.contains(&format!("\n{feature} = [")), "{feature}");
    }
    let page = read_page();
    assert!(page.contains(&format!("--features {}\n", features.join(","))));
}

#[test]
fn the_page_names_every_file() {
    let page = read_page();
    let mut files: Vec<_> = fs::read_dir(root().join("docs/deploy"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, FILES);
    const SOURCE: &str = "https://docs.rs/crate/ptolemy-webhooks/latest/source/docs";
    for file in FILES {
        assert!(page.contains(&format!("`docs/deploy/{file}`")), "{file}");
        let link = format!("]: {SOURCE}/deploy/{file}\n");
        assert!(page.contains(&link), "{file}");
    }
    assert!(page.contains(&format!("]: {SOURCE}/alerts.yml\n")));
}

/// Runs a program, and returns what it prints if it succeeds.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text.into_owned()
}

#[test]
#[ignore = "needs systemd-analyze"]
fn the_unit_is_as_confined_as_the_page_says() {
    let unit = root().join("docs/deploy/ptolemy-receiver.service");
    let score = run(
        "systemd-analyze",
        &[
            "security",
            "--offline=true",
            "--threshold=10",
            unit.to_str().unwrap(),
        ],
    );
    assert!(score.contains("Overall exposure level"), "{score}");
    assert!(read_page().contains("exposure level of 0.9"));
}

#[test]
#[ignore = "needs nginx"]
fn nginx_accepts_the_configuration() {
    let folder = std::env::temp_dir().join(format!("ptolemy-deploy-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let own = |path: &str| format!("{}/{path}", folder.display());
    // nginx opens what it listens on, so the port is a free one. It would read the certificate.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let configuration = deployed("nginx.conf")
        .replace("443 ssl http2", &address)
        .replace("/run/nginx.pid", &own("pid"))
        .replace("/var/log/nginx", &own(""));
    let lines = configuration.lines().filter(|line| {
        let line = line.trim();
        !["user ", "ssl_", "listen [::]"]
            .iter()
            .any(|start| line.starts_with(start))
    });
    let file = own("nginx.conf");
    fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let debian = "/usr/sbin/nginx";
    let program = if Path::new(debian).exists() {
        debian
    } else {
        "nginx"
    };
    let answer = run(program, &["-t", "-p", &own(""), "-c", &file]);
    fs::remove_dir_all(&folder).unwrap();
    assert!(answer.contains("test is successful"), "{answer}");
}
