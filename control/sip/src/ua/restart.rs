//! What happens when the SIP process dies: it knew transactions only, everything else is here.

use bifrons_sip_protocol::ClientId;

use super::account::AccountState;
use super::agent::{Answered, Client, Purpose, UserAgent};
use super::arena::{AccountId, CallId};
use super::call::{Offer, Phase};

impl UserAgent {
    /// A new SIP process stands ready to get `Hello`. What was queued for the old one is dropped; accounts are
    /// registered again (paced); dialogs stay. Of open transactions: an INVITE of ours waits 64*T1 for a stray answer,
    /// a BYE is sent again, other requests fail with an internal 503; an INVITE of the peer's waits to be repeated.
    pub fn process_restarted(&mut self, now_ms: u64) {
        self.life = self.life.wrapping_add(1);
        self.out.clear();
        self.lingering.clear();
        self.servers.clear();
        self.reliables.clear();
        self.greet();
        if self.draining {
            self.out.push_back(bifrons_sip_protocol::ToSip::Drain { retry_after_s: 0 });
        }
        // Flows were the old process's.
        let accounts: Vec<AccountId> = self.accounts.iter().map(|(id, _)| id).collect();
        for id in accounts {
            let Some(account) = self.accounts.get_mut(id) else { continue };
            account.flow = None;
            account.client = None;
            let again = match account.state {
                AccountState::Registered => {
                    account.state = AccountState::Registering { renewal: true };
                    true
                }
                AccountState::Registering { .. } | AccountState::Unregistering => true,
                _ => false,
            };
            if again {
                self.account_timer(id, Some(now_ms));
            }
        }
        let mut clients: Vec<(ClientId, Client)> = self.clients.drain().collect();
        clients.sort_by_key(|(id, _)| *id);
        for (id, client) in clients {
            self.lost_client(now_ms, id, client);
        }
        let calls: Vec<CallId> = self.calls.iter().map(|(id, _)| id).collect();
        for id in calls {
            self.lost_servers(now_ms, id);
            self.arm(id);
        }
    }

    fn lost_client(&mut self, now_ms: u64, id: ClientId, client: Client) {
        let wait = now_ms + self.transaction_ms();
        match client.purpose {
            Purpose::Register(_) | Purpose::Nobody => {}
            Purpose::Invite(call) => {
                let Some(state) = self.calls.get_mut(call) else { return };
                match &mut state.phase {
                    Phase::Calling { client: root, deadline, orphaned, .. } if *root == id => {
                        *orphaned = true;
                        *deadline = wait;
                        state.forks.clear();
                    }
                    // Its 2xx is in our hands: the ACK needs no transaction.
                    Phase::AnswerPending { client: root, .. } if *root == id => {}
                    _ => return,
                }
                self.clients.insert(id, client);
            }
            Purpose::Bye(call) => {
                if let Some(call) = self.calls.get_mut(call) {
                    call.dialog.local_cseq = call.dialog.local_cseq.max(client.request.cseq) + 1;
                    let mut request = client.request;
                    request.cseq = call.dialog.local_cseq;
                    let _ = self.send(client.purpose, request);
                }
            }
            Purpose::Reinvite(_) | Purpose::Prack(_) | Purpose::Progress(_) | Purpose::Application { .. } => {
                let pending = matches!(
                    client.purpose,
                    Purpose::Reinvite(call) if self.calls.get(call).is_some_and(|c| matches!(c.offer, Offer::AnswerPending { .. }))
                );
                self.clients.insert(id, client.clone());
                if pending {
                    return;
                }
                let answered = Answered {
                    id,
                    status: 503,
                    internal: true,
                    origin: None,
                    branch: String::new(),
                    message: None,
                    parts: Vec::new(),
                };
                match client.purpose {
                    Purpose::Reinvite(call) => self.reinvite_answered(now_ms, call, answered),
                    _ => self.request_answered(now_ms, answered),
                }
            }
        }
    }

    /// The peer repeats an INVITE that was not answered; one that was, it has acknowledged or repeats as well.
    fn lost_servers(&mut self, now_ms: u64, id: CallId) {
        let wait = now_ms + self.transaction_ms();
        let Some(call) = self.calls.get_mut(id) else { return };
        match &mut call.phase {
            Phase::Ringing(ringing) => {
                ringing.unacknowledged = None;
                ringing.deadline = ringing.deadline.min(wait);
            }
            Phase::Answered { deadline, .. } => *deadline = wait,
            _ => {}
        }
        match &mut call.offer {
            Offer::Received { deadline, .. } | Offer::Answered { deadline, .. } => *deadline = wait,
            _ => {}
        }
    }
}
