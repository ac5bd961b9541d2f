//! Methods, twins, and what pairs a request with its answer.

use super::*;

#[tokio::test]
async fn a_method_is_called_and_answered() {
    let world = World::real();
    for (name, as_uuid) in [("d1", false), ("d1/m1", true)] {
        let id = world.register(name).await;
        let mut client = world.device(&id).await;
        let (answers, calls) = pair(&mut client, &id, "methods/devicebound").await;
        let call = MethodCall::new("stop", Bytes::from_static(b"{\"now\":true}")).unwrap();
        let device = async {
            let (_, _, message) = client.delivery(calls).await;
            assert_eq!(message.application_property("IoThub-methodname"), Some(&"stop".into()));
            assert_eq!(message.body.to_bytes().unwrap(), "{\"now\":true}");
            let Some(MessageId::String(id)) = message.properties.unwrap().correlation_id else { panic!() };
            let id = Uuid::parse_str(&id).expect("some clients make a GUID of it");
            let correlation_id = if as_uuid { MessageId::Uuid(id) } else { MessageId::String(id.to_string()) };
            let answer = Message {
                properties: Some(Properties { correlation_id: Some(correlation_id), ..Properties::default() }),
                application_properties: vec![("IoThub-status".into(), Value::Int(418))],
                ..event("\"teapot\"")
            };
            assert_eq!(client.send(answers, &answer).await, DeliveryState::Accepted);
        };
        let (response, ()) = tokio::join!(world.hub.invoke(&id, &call), device);
        let expected = MethodResponse { status: 418, payload: Bytes::from_static(b"\"teapot\"") };
        assert_eq!(response.unwrap(), expected);
        let nonsense = rejected(client.send(answers, &event("?")).await);
        assert_eq!(nonsense.condition, condition::ARGUMENT_ERROR);
        client.amqp.detach_in_peace(calls);
        client.come_in(&id).await;
        assert!(world.hub.invoke(&id, &call).await.is_err(), "one link is not enough");
    }
}

fn twin_request(operation: &'static str, resource: Option<&'static str>, body: &str, id: MessageId) -> Message {
    let mut message_annotations = vec![symbol("operation", operation)];
    message_annotations.extend(resource.map(|resource| symbol("resource", resource)));
    Message {
        message_annotations,
        properties: Some(Properties { correlation_id: Some(id), ..Properties::default() }),
        ..event(body)
    }
}

#[tokio::test]
async fn a_twin_is_read_reported_and_heard_of() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let (requests, answers) = pair(&mut client, &id, "twin").await;
    let number = MessageId::Uuid(Uuid::from_u128(9));
    client.send(requests, &twin_request("GET", None, " ", number.clone())).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(200)));
    assert_eq!(answer.properties.unwrap().correlation_id, Some(number.clone()), "with its type");
    let twin: serde_json::Value = serde_json::from_slice(&answer.body.to_bytes().unwrap()).unwrap();
    assert_eq!(twin, json!({"desired": {"$version": 1}, "reported": {"$version": 1}}));

    let report = twin_request("PATCH", Some("/properties/reported"), r#"{"a":1}"#, number.clone());
    client.send(requests, &report).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(200)));
    assert_eq!(answer.message_annotation("version"), Some(&Value::Long(2)));

    let wrong = twin_request("PATCH", Some("/properties/reported"), "[1]", number.clone());
    client.send(requests, &wrong).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(400)));
    let body: serde_json::Value = serde_json::from_slice(&answer.body.to_bytes().unwrap()).unwrap();
    assert_eq!(body["errorCode"], 400_004);
    client.send(requests, &twin_request("FETCH", None, "", number.clone())).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(400)));

    let change = |value: i64| TwinWrite::merging(None, Some(json!({ "speed": value }))).unwrap();
    // Before PUT nothing is told; what comes first is the answer to PUT.
    world.hub.write_twin(gantry_gateway::now(), &id, &change(1), &IfMatch::Absent).await.unwrap();
    let notify = "/notifications/twin/properties/desired";
    client.send(requests, &twin_request("PUT", Some(notify), " ", number.clone())).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(200)));
    world.hub.write_twin(gantry_gateway::now(), &id, &change(2), &IfMatch::Absent).await.unwrap();
    let (_, _, told) = client.delivery(answers).await;
    assert_eq!(told.message_annotation("resource"), Some(&"/properties/desired".into()));
    assert_eq!(told.message_annotation("version"), Some(&Value::Int(3)));
    assert!(told.properties.is_none_or(|properties| properties.correlation_id.is_none()));
    let patch: serde_json::Value = serde_json::from_slice(&told.body.to_bytes().unwrap()).unwrap();
    assert_eq!(patch, json!({"speed": 2, "$version": 3}));
    client.send(requests, &twin_request("DELETE", Some(notify), " ", number.clone())).await;
    client.delivery(answers).await;
    world.hub.write_twin(gantry_gateway::now(), &id, &change(3), &IfMatch::Absent).await.unwrap();
    client.send(requests, &twin_request("GET", None, " ", number.clone())).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.properties.unwrap().correlation_id, Some(number), "no change was told in between");
}

#[tokio::test]
async fn answers_go_to_the_link_a_request_is_paired_with() {
    let world = World::real();
    let mut client = world.client(ClientSasl::None).await;
    let mut links = Vec::new();
    for name in ["d1", "d2"] {
        let id = world.register(name).await;
        client.come_in(&id).await;
        client.begin_session();
        links.push((pair(&mut client, &id, "twin").await, name));
        let report = json!({ "name": name }).as_object().cloned().unwrap();
        world.hub.report(gantry_gateway::now(), &id, &report).await.unwrap();
    }
    for ((requests, answers), name) in links {
        client.send(requests, &twin_request("GET", None, " ", MessageId::Ulong(1))).await;
        let (_, _, answer) = client.delivery(answers).await;
        let twin: serde_json::Value = serde_json::from_slice(&answer.body.to_bytes().unwrap()).unwrap();
        assert_eq!(twin["reported"]["name"], name);
    }
}

#[tokio::test]
async fn a_model_id_is_noted_from_whichever_link_names_it() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    c2d_link(&mut client, &id, 1, ReceiverSettleMode::First).await;
    let properties = vec![symbol("com.microsoft:model-id", "dtmi:a:b;1")];
    let options = AttachOptions { properties, ..AttachOptions::default() };
    let target = Target::at("/devices/d1/messages/events");
    let link = client.attach(Role::Sender, Source::at("x"), target, options).await.unwrap();
    assert_eq!(client.send(link, &event("x")).await, DeliveryState::Accepted);
    assert_eq!(world.log.events.lock().unwrap()[0].model_id.as_deref(), Some("dtmi:a:b;1"));
    tokio::time::timeout(Duration::from_secs(10), async {
        while world.hub.record(&id).await.unwrap().twin.model_id.as_deref() != Some("dtmi:a:b;1") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the twin has it too");
}

#[tokio::test]
async fn services_take_feedback_and_file_notifications() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut owner = world.owner().await;
    let second = AttachOptions { credit: 1, rcv_settle_mode: ReceiverSettleMode::Second, ..AttachOptions::default() };
    let feedback = owner.receive_with("/messages/serviceBound/feedback", None, second.clone()).await.unwrap();
    send_c2d(&world, &id, "m1").await;
    let locked = world.hub.receive_c2d(gantry_gateway::now(), &id, None).await.unwrap().unwrap();
    world.hub.settle_c2d(gantry_gateway::now(), &id, locked.token, Settle::Complete).await.unwrap();
    world.hub.tend(gantry_gateway::now().plus(Duration::from_secs(16))).await.unwrap();
    let (delivery, tag, message) = owner.delivery(feedback).await;
    assert_eq!(tag.len(), 16);
    assert!(matches!(message.message_annotation("iothub-enqueuedtime"), Some(Value::Timestamp(_))));
    let properties = message.properties.unwrap();
    assert_eq!(properties.content_type.unwrap(), "application/vnd.microsoft.iothub.feedback.json");
    assert!(properties.user_id.is_some());
    let records: serde_json::Value = serde_json::from_slice(&message.body.to_bytes().unwrap()).unwrap();
    assert_eq!(records[0]["originalMessageId"], "m1");
    owner.amqp.dispose(feedback, delivery, DeliveryState::Accepted);
    assert_eq!(owner.confirmed(delivery).await.state, Some(DeliveryState::Accepted));
    owner.amqp.drain(feedback);
    owner.wait(|event| matches!(event, Event::Drained { link } if *link == feedback).then_some(())).await;

    for address in ["/messages/serviceBound/filenotifications", "/messages/servicebound/fileuploadnotifications"] {
        let files = owner.receive_with(address, None, second.clone()).await.unwrap();
        let file = FileNotification {
            identity: id.clone(),
            blob_uri: "https://localhost/c/d1/a".into(),
            blob_name: "d1/a".into(),
            last_updated_at: gantry_gateway::now(),
            size_bytes: 3,
        };
        world.hub.notify_file_uploaded(gantry_gateway::now(), &file).await.unwrap();
        let (delivery, _, _) = owner.delivery(files).await;
        owner.amqp.dispose(files, delivery, DeliveryState::Released);
        owner.confirmed(delivery).await;
        // One for the delivery that we did not settle ourselves, and one for the next.
        owner.amqp.grant_credit(files, 2);
        let (delivery, _, message) = owner.delivery(files).await;
        assert_eq!(message.header.as_ref().unwrap().delivery_count, 1);
        let properties = message.properties.unwrap();
        assert_eq!(properties.content_type.unwrap(), "application/vnd.microsoft.iothub.filenotification.json");
        owner.amqp.dispose(files, delivery, DeliveryState::Accepted);
        owner.confirmed(delivery).await;
        owner.amqp.detach_in_peace(files);
    }
}

#[tokio::test]
async fn a_device_reads_no_feedback() {
    let world = World::real();
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let refused = client.receive_from("/messages/serviceBound/feedback", 1).await.unwrap_err();
    assert_eq!(refused.condition, condition::UNAUTHORIZED_ACCESS);
}

/// A message that asks for a fault at once.
fn fault(kind: &str) -> Message {
    let property = |name: &str, value: &str| (name.into(), value.into());
    Message {
        application_properties: vec![
            property("AzIoTHub_FaultOperationType", kind),
            property("AzIoTHub_FaultOperationCloseReason", "byTest"),
            property("AzIoTHub_FaultOperationDelayInSecs", "0"),
            property("AzIoTHub_FaultOperationDurationInSecs", "1"),
        ],
        ..event("fault")
    }
}

#[tokio::test]
async fn a_device_breaks_the_link_it_asks_to_be_broken_and_no_other() {
    for kind in [
        "KillAmqpD2CLink",
        "KillAmqpC2DLink",
        "KillAmqpTwinLinkReq",
        "KillAmqpTwinLinkResp",
        "KillAmqpMethodReqLink",
        "KillAmqpMethodRespLink",
    ] {
        let world = World::real();
        let id = world.register("d1").await;
        let mut client = world.device(&id).await;
        let telemetry = telemetry_link(&mut client, &id).await;
        let c2d = c2d_link(&mut client, &id, 1, ReceiverSettleMode::First).await;
        let (twin_requests, twin_responses) = pair(&mut client, &id, "twin").await;
        let (method_answers, method_calls) = pair(&mut client, &id, "methods/deviceBound").await;
        assert_eq!(client.send(telemetry, &fault(kind)).await, DeliveryState::Accepted);
        let expected = match kind {
            "KillAmqpD2CLink" => telemetry,
            "KillAmqpC2DLink" => c2d,
            "KillAmqpTwinLinkReq" => twin_requests,
            "KillAmqpTwinLinkResp" => twin_responses,
            "KillAmqpMethodReqLink" => method_answers,
            _ => method_calls,
        };
        assert_eq!(client.detached(expected).await.condition, condition::DETACH_FORCED, "{kind}");
        assert!(world.hub.is_connected(&id), "{kind}: the connection and its other links stay");
    }
}

#[tokio::test]
async fn a_device_that_asks_for_throttling_is_throttled_for_a_while() {
    for (kind, expected) in [
        ("InvokeThrottling", "com.microsoft:device-container-throttled"),
        ("InvokeMaxMessageQuota", "com.microsoft:quota-exceeded"),
        ("InvokeAuthError", "amqp:unauthorized-access"),
    ] {
        let world = World::real();
        let id = world.register("d1").await;
        let mut client = world.device(&id).await;
        let link = telemetry_link(&mut client, &id).await;
        assert_eq!(client.send(link, &fault(kind)).await, DeliveryState::Accepted);
        let state = loop {
            // The fault is due at once, and carried out as soon as the connection gets to it.
            match client.send(link, &event("x")).await {
                DeliveryState::Accepted => {}
                state => break state,
            }
        };
        assert_eq!(rejected(state).condition.as_str(), expected);
        tokio::time::timeout(Duration::from_secs(10), async {
            while client.send(link, &event("y")).await != DeliveryState::Accepted {}
        })
        .await
        .expect("the spell ends");
    }
}

#[tokio::test]
async fn twin_operations_have_the_turns_and_the_gaps_of_an_edition() {
    let world = World::like("B1");
    let id = world.register("d1").await;
    let mut client = world.device(&id).await;
    let (requests, answers) = pair(&mut client, &id, "twin").await;
    client.send(requests, &twin_request("GET", None, " ", MessageId::Ulong(1))).await;
    let (_, _, answer) = client.delivery(answers).await;
    assert_eq!(answer.message_annotation("status"), Some(&Value::Int(403)), "a basic edition has no twins");
    let link = telemetry_link(&mut client, &id).await;
    assert_eq!(client.send(link, &event("x")).await, DeliveryState::Accepted);
}
