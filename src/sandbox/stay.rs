//! After the story: everything keeps running, with commands to try from another terminal.
//!
//! Owns the commands, which work as pasted: whole paths, quoted, keys and a body on disk. A message that a person makes up
//! in a shell is one that the fake GHL did not send; it learns of it when the bridge first reports it, so that its status
//! is taken too.

use std::path::Path;
use std::time::Duration;

use super::live::Live;
use super::script;
use super::shell::quote;
use super::stage::{Setting, Stage};
use crate::fake::ghl::{DEFAULT_LOCATION, FakeGhlOptions, Install, OutboundSms};
use crate::signature::Scheme;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What the commands' message says; the forger's command changes its first word.
const TEXT: &str = "Hello from the shell.";
const PHONE: (&str, &str) = ("+639179999999", "09179999999");

/// Prints the commands and tells what happens, until it is dropped.
///
/// # Errors
/// A file cannot be written.
pub(super) async fn stay(live: &mut Live<'_>) -> anyhow::Result<()> {
    let stage = live.stage;
    if stage.setting == Setting::Wide {
        stage.ghl.next_install(Install::default());
        super::browser::install(stage, "Connected").await?;
        live.watch.skip(&stage.cast, &stage.ghl);
    }
    let commands = commands(&prepare(live)?);
    stage.screen.block(&commands);
    live.say("Everything keeps running. Ctrl-C ends it.");
    stage.ghl.set_status_ready_after(Duration::ZERO);
    loop {
        live.look();
        for (location, message) in live.watch.strangers() {
            stage.ghl.register_message(&location, &message);
        }
        anyhow::ensure!(stage.bridge.is_running(), "the bridge ended by itself");
        stage.clock.sleep(LOOK_EVERY).await;
    }
}

/// What the commands are made of; all but the URLs already quoted for a shell.
struct Kit {
    program: String,
    keys: Vec<(&'static str, String)>,
    body: String,
    body_at: String,
    message_id: String,
    dir: String,
    database: String,
    /// What the doctor has to know, as a shell takes it before a command.
    doctor: String,
    bridge: String,
    metrics: String,
    inbound_key: String,
    /// What Cast calls the first SMS it took.
    taken: String,
}

/// Writes keys and body, and makes the body's message known to GHL.
fn prepare(live: &mut Live<'_>) -> anyhow::Result<Kit> {
    let Stage { ghl, cast, dir, keys, bridge, inbound_key, .. } = live.stage;
    let path = |path: &Path| quote(&path.to_string_lossy());
    let written = |scheme| -> anyhow::Result<(&'static str, String)> {
        let name = script::scheme_name(scheme);
        let file = format!("{}.pem", name.to_lowercase());
        Ok((name, path(&dir.write(&file, keys.of(scheme).private_pem().as_bytes())?)))
    };
    let keys = Scheme::ALL.into_iter().map(written).collect::<anyhow::Result<_>>()?;
    let webhook = ghl.build_webhook(&OutboundSms::new(DEFAULT_LOCATION, PHONE.0, TEXT));
    ghl.register_message(&webhook.location_id, &webhook.message_id);
    live.watch.expect(&webhook.message_id, "message of body.json".to_owned(), PHONE.1, 1);
    let body = dir.write("body.json", &webhook.body)?;
    let provider = FakeGhlOptions::default().provider_id;
    let data = dir.path().join("data");
    let doctor = format!(
        "DATA_DIR={} GHL_API_URL={} BASE_URL={} GHL_CONVERSATION_PROVIDER_ID={provider}",
        path(&data),
        ghl.url(),
        bridge.url
    );
    Ok(Kit {
        program: path(&std::env::current_exe()?),
        keys,
        body: path(&body),
        body_at: quote(&format!("@{}", body.display())),
        message_id: webhook.message_id,
        dir: path(dir.path()),
        database: path(&data.join("cast-ghl.sqlite3")),
        doctor,
        bridge: bridge.url.clone(),
        metrics: bridge.metrics_url.clone(),
        inbound_key: inbound_key.clone(),
        taken: cast.taken().into_iter().find_map(|call| call.message_id).unwrap_or_default(),
    })
}

fn commands(kit: &Kit) -> String {
    let Kit { program, keys, body, body_at, message_id, dir, database, doctor, bridge, metrics, inbound_key, taken } =
        kit;
    let key = keys.first().map_or("", |(_, path)| path.as_str());
    let others: Vec<String> = keys.iter().skip(1).map(|(name, path)| format!("{path} ({name})")).collect();
    let others = others.join(", ");
    let post = format!("curl -sS {bridge}/api/ghl/v1/webhook/messages -H 'content-type: application/json'");
    let header = |body: &str| format!("-H \"$({program} sign --key {key} {body})\"");
    let (signed, signed_new) = (header(body), header("\"$new\""));
    format!(
        r#"
Try it from another terminal. The commands work as they are.

# GHL sends an SMS. Once more: a duplicate. Other keys: {others}
{post} \
  {signed} --data-binary {body_at}; echo

# Another SMS, as often as you like
new=$(mktemp) && sed "s/{message_id}/shell-$(date +%s)-$$/" {body} > "$new" && {post} \
  {signed_new} --data-binary "@$new"; echo; rm -f "$new"

# A forgery: the signature is the one of body.json, the words are not
sed 's/Hello/Hullo/' {body} | {post} \
  {signed} --data-binary @-; echo

# The person answers
curl -sS {bridge}/api/cast/v1/inbound -H 'x-api-key: {inbound_key}' -H 'content-type: application/json' \
  -d '{{"from":"{local}","message":"Yes please!"}}'; echo

# The gateway says what became of the first SMS it took
curl -sS {bridge}/api/cast/v1/receipts -H 'x-api-key: {inbound_key}' -H 'content-type: application/json' \
  -d '{{"message_id":"{taken}","status":"delivered"}}'; echo

# Is everything set up, and what is to be done next?
{doctor} \
  {program} doctor {DEFAULT_LOCATION}

# Look at what happened: here, and
curl -sS {metrics} | grep -v '^#'
curl -sS {bridge}/health; echo; curl -sS {bridge}/ready; echo
sqlite3 -readonly {database} 'select id, state from messages'
ls -l {dir}

In a browser: {bridge}/ (its button connects the sub-account once more).
"#,
        local = PHONE.1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed_for_a_shell_even_where_paths_are_not() {
        let nasty = quote("/tmp/it's a \"dir\" $HOME");
        let kit = Kit {
            program: nasty.clone(),
            keys: vec![("Ed25519", nasty.clone()), ("RSA", nasty.clone())],
            body: nasty.clone(),
            body_at: nasty.clone(),
            message_id: "MSG1".to_owned(),
            dir: nasty.clone(),
            doctor: format!("DATA_DIR={nasty}"),
            database: nasty,
            bridge: "http://127.0.0.1:1".to_owned(),
            metrics: "http://127.0.0.1:2/metrics".to_owned(),
            inbound_key: "00ff".to_owned(),
            taken: "sms_1".to_owned(),
        };
        let text = commands(&kit);
        let (_, shell) = text.split_once("as they are.\n").unwrap();
        let (shell, _) = shell.split_once("\nIn a browser").unwrap();
        let checked = std::process::Command::new("sh").args(["-n", "-c", shell]).output().unwrap();
        assert!(checked.status.success(), "{}\n{shell}", String::from_utf8_lossy(&checked.stderr));
    }
}
