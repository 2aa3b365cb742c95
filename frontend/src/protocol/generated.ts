// Generated from backend/orchestrator/schema.py by `npm run types`. Never edited by hand.

export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description `actor` and `subject` are ids; `actor_name` is empty for accounts that are gone. */
        AuditEntry: {
            action: string;
            actor: string;
            actor_name: string;
            at: number;
            details: {
                [key: string]: unknown;
            };
            id: number;
            subject: string;
        };
        /** @description Newest first; `more`: there are older ones, before the last of these. */
        AuditPage: {
            entries: components["schemas"]["AuditEntry"][];
            more: boolean;
        };
        /**
         * @description `GET /api/auth/state`, and the answer to whatever signs in. `registration`: `first` while there is nobody (whoever
         *     registers becomes admin), else what the operator has set. `user`: who is signed in.
         */
        AuthState: {
            /** @enum {string} */
            mode: "none" | "accounts";
            oidc: components["schemas"]["OidcProvider"][];
            /** @enum {string} */
            registration: "first" | "closed" | "open" | "invite";
            user: components["schemas"]["User"] | null;
        };
        /** @description One code action and what became of it. `n`: number of the next CellOutput; -1 once closed. */
        Cell: {
            cell: string;
            code: string;
            duration_s: number | null;
            execution_count: number | null;
            files: components["schemas"]["FileChange"][];
            files_kept: boolean;
            finish: components["schemas"]["StepFinish"] | null;
            fresh: boolean;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            kind: "cell";
            lost: string;
            n: number;
            outcome: components["schemas"]["CellOutcome"] | null;
            outputs: (components["schemas"]["TextOutput"] | components["schemas"]["RichOutput"] | components["schemas"]["ErrorOutput"] | components["schemas"]["OmittedOutput"])[];
            phase_words: string;
            started_at: number | null;
            state: components["schemas"]["CellState"];
            step: number;
            variables_kept: boolean;
            words: string;
        };
        /**
         * @description The cell has ended. `words` explains everything but plain success or error, and what survived, to the user and to the
         *     model alike. `fresh` says that the cell began in a new kernel although earlier cells had left variables; `lost` says why
         *     these are gone, where that was not said before.
         */
        CellClosed: {
            at: number;
            cell: string;
            duration_s: number;
            execution_count: number | null;
            files: components["schemas"]["FileChange"][];
            files_kept: boolean;
            fresh: boolean;
            /** @default  */
            lost: string;
            outcome: components["schemas"]["CellOutcome"];
            outputs: (components["schemas"]["TextOutput"] | components["schemas"]["RichOutput"] | components["schemas"]["ErrorOutput"] | components["schemas"]["OmittedOutput"])[];
            seq: number;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "cell.closed";
            variables_kept: boolean;
            words: string;
        };
        /** @description The code of step `step` is about to run, for the first and only time. */
        CellOpened: {
            at: number;
            cell: string;
            seq: number;
            step: number;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "cell.opened";
        };
        /**
         * @description How a cell ended: the executor's outcomes, and two that only the orchestrator knows.
         * @enum {string}
         */
        CellOutcome: "ok" | "error" | "interrupted" | "timed_out" | "out_of_memory" | "kernel_died" | "sandbox_lost" | "unavailable" | "lost";
        /** @description The cell's outputs changed. `n` counts these events of the cell from 0; `ops` apply in order. */
        CellOutput: {
            cell: string;
            n: number;
            ops: (components["schemas"]["Put"] | components["schemas"]["Write"] | components["schemas"]["Wipe"])[];
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "cell.output";
        };
        /**
         * @description Where a cell is between its code and its end.
         * @enum {string}
         */
        CellPhase: "queued" | "starting" | "running";
        /** @description The cell has moved on; `words` is empty or says what is being waited for. */
        CellProgress: {
            cell: string;
            phase: components["schemas"]["CellPhase"];
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "cell.progress";
            words: string;
        };
        /** @enum {string} */
        CellState: "writing" | "written" | "queued" | "starting" | "running" | "closed" | "not_run";
        /** @description All other sessions end. `old` is left out by people who have only come from a provider until now. */
        ChangePassword: {
            /** Format: password */
            new: string;
            /** @default null */
            old: string | null;
        };
        /** @description What is null stays as it is. */
        ChangeUser: {
            /** @default null */
            disabled: boolean | null;
            /** @default null */
            group: string | null;
            /** @default null */
            role: ("user" | "admin") | null;
        };
        /**
         * @description Websocket close codes (RFC 6455 §7.4; 4000–4999 are ours).
         * @enum {integer}
         */
        CloseCode: 1001 | 1009 | 4401 | 4403 | 4408 | 4400;
        /** @description Code being written. `offset`: length of the step's code before this text. */
        CodeDelta: {
            cell: string;
            offset: number;
            step: number;
            text: string;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "code.delta";
        };
        Command: components["schemas"]["Subscribe"] | components["schemas"]["Unsubscribe"] | components["schemas"]["SendMessage"] | components["schemas"]["ContinueTurn"] | components["schemas"]["StopTurn"] | components["schemas"]["RestartKernel"] | components["schemas"]["Ping"];
        /** @description Go on where the last turn ended early, as a new turn with this id. */
        ContinueTurn: {
            conversation: string;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "turn.continue";
        };
        /** @description The list has a new or changed line; told on every connection. */
        ConversationChanged: {
            summary: components["schemas"]["ConversationSummary"];
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "conversation.changed";
        };
        /** @description Newest first. `GET /api/conversations?limit=&before=` answers with the lines that follow `before`. */
        ConversationList: {
            conversations: components["schemas"]["ConversationSummary"][];
        };
        /** @description Everything known of one conversation at `cursor`: fold `events`, apply `live`, then subscribe with `cursor`. */
        ConversationPage: {
            cursor: string;
            events: (components["schemas"]["TurnOpened"] | components["schemas"]["StepClosed"] | components["schemas"]["CellOpened"] | components["schemas"]["CellClosed"] | components["schemas"]["TurnClosed"])[];
            kernel: components["schemas"]["Kernel"];
            live: components["schemas"]["Live"] | null;
            summary: components["schemas"]["ConversationSummary"];
        };
        /** @description The list has lost a line; told on every connection. */
        ConversationRemoved: {
            conversation: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "conversation.removed";
        };
        /** @description One line of the conversation list. `running`: a turn is open. */
        ConversationSummary: {
            created_at: number;
            id: string;
            running: boolean;
            title: string;
            updated_at: number;
        };
        /**
         * @description Whether what happens is told as it happens. Sent when that changes, and after hello when it is not so: turns run all
         *     the same, and what was missed is told later.
         */
        Delivery: {
            live: boolean;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "delivery";
        };
        DurableEvent: components["schemas"]["TurnOpened"] | components["schemas"]["StepClosed"] | components["schemas"]["CellOpened"] | components["schemas"]["CellClosed"] | components["schemas"]["TurnClosed"];
        /** @description The code raised. `traceback` is ANSI-coloured text, one string. */
        ErrorOutput: {
            ename: string;
            evalue: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            kind: "error";
            traceback: string;
        };
        Event: components["schemas"]["TurnOpened"] | components["schemas"]["StepClosed"] | components["schemas"]["CellOpened"] | components["schemas"]["CellClosed"] | components["schemas"]["TurnClosed"] | components["schemas"]["StepOpened"] | components["schemas"]["TextDelta"] | components["schemas"]["CodeDelta"] | components["schemas"]["CellProgress"] | components["schemas"]["CellOutput"] | components["schemas"]["TurnStopping"] | components["schemas"]["KernelChanged"];
        /** @description One file of the workspace that differs from before the cell. Paths are relative to the workspace, POSIX. */
        FileChange: {
            /** @enum {string} */
            change: "new" | "changed" | "deleted";
            path: string;
            size: number;
        };
        Frame: components["schemas"]["Hello"] | components["schemas"]["Told"] | components["schemas"]["Subscribed"] | components["schemas"]["Reset"] | components["schemas"]["Delivery"] | components["schemas"]["ConversationChanged"] | components["schemas"]["ConversationRemoved"] | components["schemas"]["Refused"] | components["schemas"]["Pong"];
        /** @description First frame of every connection. A client that knows another `protocol` asks the user to reload. */
        Hello: {
            model: string;
            protocol: number;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "hello";
        };
        /** @description `made_by`, `used_by`: names of users; `used_by` null while it waits. */
        InviteLine: {
            created_at: number;
            email: string;
            expires_at: number;
            group: string;
            id: string;
            made_by: string;
            /** @enum {string} */
            role: "user" | "admin";
            used_by: string | null;
        };
        InviteList: {
            invites: components["schemas"]["InviteLine"][];
        };
        Item: components["schemas"]["Prose"] | components["schemas"]["Cell"];
        Kernel: {
            memory_limit: number | null;
            memory_used: number | null;
            state: components["schemas"]["KernelState"];
            words: string;
        };
        /** @description The conversation's sandbox is in another state. Memory in bytes. */
        KernelChanged: {
            memory_limit: number | null;
            memory_used: number | null;
            state: components["schemas"]["KernelState"];
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "kernel.changed";
            words: string;
        };
        /**
         * @description What there is for a conversation right now.
         * @enum {string}
         */
        KernelState: "none" | "starting" | "idle" | "busy" | "restarting";
        /** @description Where the page is to go (`location.assign`). */
        Leave: {
            location: string;
        };
        /**
         * @description The part of an open turn that is not yet in a durable event: what a reader who joins now must know.
         *
         *     Applied after the durable events, before the frames that follow the page's cursor; ignored where the step or cell it
         *     speaks of has been closed since.
         */
        Live: {
            cell: string | null;
            code: string | null;
            n: number;
            outputs: (components["schemas"]["TextOutput"] | components["schemas"]["RichOutput"] | components["schemas"]["ErrorOutput"] | components["schemas"]["OmittedOutput"])[];
            phase: components["schemas"]["CellPhase"] | null;
            prose: string;
            step: number;
            stopping: boolean;
            turn: string;
            /** @default  */
            words: string;
        };
        LiveEvent: components["schemas"]["StepOpened"] | components["schemas"]["TextDelta"] | components["schemas"]["CodeDelta"] | components["schemas"]["CellProgress"] | components["schemas"]["CellOutput"] | components["schemas"]["TurnStopping"] | components["schemas"]["KernelChanged"];
        /** @description `words` say why sandboxes are not known, where they are not. */
        LiveNow: {
            sandboxes: components["schemas"]["LiveSandbox"][];
            turns: components["schemas"]["LiveTurn"][];
            words: string;
        };
        /**
         * @description `user` is empty where the conversation is gone and its sandbox has not followed yet. `idle_s`: how long no cell has
         *     run.
         */
        LiveSandbox: {
            conversation: string;
            disk: number | null;
            idle_s: number;
            memory_used: number | null;
            state: components["schemas"]["KernelState"];
            user: string;
            user_name: string;
        };
        LiveTurn: {
            conversation: string;
            opened_at: number;
            turn: string;
            user: string;
            user_name: string;
        };
        Login: {
            email: string;
            /** Format: password */
            password: string;
        };
        /** @description `link` opens the page at `/#invite=SECRET` and is shown this once. */
        MadeInvite: {
            line: components["schemas"]["InviteLine"];
            link: string;
        };
        /** @description `token` is shown this once. */
        MadeToken: {
            line: components["schemas"]["TokenLine"];
            token: string;
        };
        /** @description For `email` alone, or for whoever has the link. `role` and `group` are what they get. */
        MakeInvite: {
            /** @default 7 */
            days: number;
            /** @default null */
            email: string | null;
            /** @default  */
            group: string;
            /**
             * @default user
             * @enum {string}
             */
            role: "user" | "admin";
        };
        /** @description `days`: until it expires; null for never. */
        MakeToken: {
            /** @default null */
            days: number | null;
            label: string;
            scopes: ("chat" | "read")[];
        };
        /** @description `words` name cause and next step when it is not well. */
        ModelInfo: {
            name: string;
            ok: boolean;
            profile: string;
            url: string;
            words: string;
        };
        ModelList: {
            models: components["schemas"]["ModelInfo"][];
        };
        /**
         * @description Somebody else who can say who people are. `GET /api/auth/oidc/{id}/start?return_to=/…` goes there, as a page, not a
         *     request; with an invitation, or to connect the provider to the account that is signed in, it is a POST (`Visit`).
         */
        OidcProvider: {
            id: string;
            label: string;
        };
        /** @description A place where output was left out for size; `size` counts the bytes. */
        OmittedOutput: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            kind: "omitted";
            size: number;
        };
        Output: components["schemas"]["TextOutput"] | components["schemas"]["RichOutput"] | components["schemas"]["ErrorOutput"] | components["schemas"]["OmittedOutput"];
        OutputOp: components["schemas"]["Put"] | components["schemas"]["Write"] | components["schemas"]["Wipe"];
        Ping: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "ping";
        };
        Pong: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "pong";
        };
        /** @description Markdown that the model wrote in one step. `finish` is None while it is being written. */
        Prose: {
            finish: components["schemas"]["StepFinish"] | null;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            kind: "prose";
            step: number;
            text: string;
        };
        /** @constant */
        ProtocolVersion: 1;
        /** @description The item at `index` is now `output`; `index` equal to the length appends. */
        Put: {
            index: number;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            op: "put";
            output: components["schemas"]["TextOutput"] | components["schemas"]["RichOutput"] | components["schemas"]["ErrorOutput"] | components["schemas"]["OmittedOutput"];
        };
        /**
         * @description The limits of a group or a user (`name`: its name, their id), or of everybody else (`default`, without a name). What
         *     is left out is as for those above: the group, everybody, the server's settings.
         */
        Quota: {
            limits: components["schemas"]["QuotaLimit"][];
            name: string;
            /** @enum {string} */
            scope: "default" | "group" | "user";
        };
        /** @description `most`: null allows as much as one likes, whatever holds for others; 0 allows nothing. */
        QuotaLimit: {
            most: number | null;
            what: components["schemas"]["What"];
        };
        /**
         * @description `name` is for people. `limit` and `remaining`: null where there is no limit. `resets_at`: Unix seconds; null where
         *     nothing resets by itself.
         */
        QuotaLine: {
            limit: number | null;
            name: string;
            remaining: number | null;
            resets_at: number | null;
            unit: string;
            used: number;
            what: components["schemas"]["What"];
        };
        /** @description Empty where nothing is counted. */
        QuotaList: {
            limits: components["schemas"]["QuotaLine"][];
        };
        /** @description `settings`: what the server's environment sets; it holds where no quota says otherwise. */
        Quotas: {
            quotas: components["schemas"]["Quota"][];
            settings: components["schemas"]["QuotaLimit"][];
        };
        /**
         * @description Why a command was not carried out.
         * @enum {string}
         */
        Refusal: "malformed" | "unknown_conversation" | "turn_open" | "nothing_to_continue" | "busy" | "quota" | "failed";
        /** @description A command was not carried out. `words` name the cause and the next step; `turn` is set when it named one. */
        Refused: {
            conversation: string | null;
            reason: components["schemas"]["Refusal"];
            turn: string | null;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "refused";
            words: string;
        };
        /** @description `invite`: the secret of an invitation's link (what follows `#invite=`). */
        Register: {
            email: string;
            /** @default null */
            invite: string | null;
            name: string;
            /** Format: password */
            password: string;
        };
        /** @description The cursor is too old, or the reader too slow: load the conversation's page again and subscribe with its cursor. */
        Reset: {
            conversation: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "reset";
        };
        /** @description Opens the page at `/#reset=SECRET`, once, until it expires. */
        ResetLink: {
            expires_at: number;
            link: string;
        };
        /** @description Throw the conversation's variables away and begin with an empty kernel; files stay. */
        RestartKernel: {
            conversation: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "kernel.restart";
        };
        /** @description A mime bundle kept whole: `data` maps mime type to content (base64 for binary types, as Jupyter does). */
        RichOutput: {
            data: {
                [key: string]: unknown;
            };
            display_id: string | null;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            kind: "rich";
            metadata: {
                [key: string]: unknown;
            };
        };
        /** @description Open a turn. Accepted means: `turn.opened` with this turn id arrives. The same id again changes nothing. */
        SendMessage: {
            conversation: string;
            text: string;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "message.send";
        };
        /** @description A browser that is signed in. `how`: `password`, or `oidc:` and the provider. `current`: the one that asks. */
        SessionLine: {
            address: string;
            agent: string;
            created_at: number;
            current: boolean;
            expires_at: number;
            how: string;
            id: string;
            seen_at: number;
        };
        SessionList: {
            sessions: components["schemas"]["SessionLine"][];
        };
        /** @description A variable of the server's environment. `secret`: there is a value, which is not shown. */
        SettingInfo: {
            default: boolean;
            name: string;
            secret: boolean;
            value: string;
        };
        SettingList: {
            settings: components["schemas"]["SettingInfo"][];
        };
        /**
         * @description Why coming back from a provider did not sign in: the page is opened at `/?sign_in_error=…`.
         * @enum {string}
         */
        SignInError: "cancelled" | "expired" | "failed" | "no_account" | "email_taken" | "connected_elsewhere" | "disabled";
        /** @description The model's message number `step` of this turn (from 0) is complete: prose, then at most one code action. */
        StepClosed: {
            code: components["schemas"]["WrittenCode"] | null;
            error: string;
            finish: components["schemas"]["StepFinish"];
            prose: string;
            seq: number;
            step: number;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "step.closed";
            usage: components["schemas"]["Usage"] | null;
        };
        /**
         * @description Why the model's message ended. Only `code` leads to a run.
         * @enum {string}
         */
        StepFinish: "answer" | "code" | "cut_off" | "fabricated" | "stopped" | "failed" | "lost";
        /** @description The model was asked; nothing has come yet. */
        StepOpened: {
            step: number;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "step.opened";
        };
        /** @description Stop the turn in whatever phase it is; `turn.stopping` is told at once. A closed turn stays as it is. */
        StopTurn: {
            conversation: string;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "turn.stop";
        };
        /** @description Tell what happens in the conversation after `cursor` (from the page, or from the last frame seen). */
        Subscribe: {
            conversation: string;
            cursor: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "subscribe";
        };
        /** @description The subscription is live; everything after the asked cursor follows. */
        Subscribed: {
            conversation: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "subscribed";
        };
        /** @description Prose being written. `offset`: length of the step's prose before this text. */
        TextDelta: {
            offset: number;
            step: number;
            text: string;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "text.delta";
        };
        /** @description Text on stdout or stderr. `late`: printed by an earlier cell's threads after that cell had ended. */
        TextOutput: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            kind: "text";
            late: boolean;
            /** @enum {string} */
            name: "stdout" | "stderr";
            text: string;
        };
        /** @description `begins`: its first characters. */
        TokenLine: {
            begins: string;
            created_at: number;
            expires_at: number | null;
            id: string;
            label: string;
            scopes: ("chat" | "read")[];
            used_at: number | null;
        };
        TokenList: {
            tokens: components["schemas"]["TokenLine"][];
        };
        /** @description Something happened in a conversation. `cursor` is where to go on from after a lost connection. */
        Told: {
            conversation: string;
            cursor: string;
            event: components["schemas"]["TurnOpened"] | components["schemas"]["StepClosed"] | components["schemas"]["CellOpened"] | components["schemas"]["CellClosed"] | components["schemas"]["TurnClosed"] | components["schemas"]["StepOpened"] | components["schemas"]["TextDelta"] | components["schemas"]["CodeDelta"] | components["schemas"]["CellProgress"] | components["schemas"]["CellOutput"] | components["schemas"]["TurnStopping"] | components["schemas"]["KernelChanged"];
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "told";
        };
        /**
         * @description One message of the user and all that followed. `error` is the last step's error, if it failed. `next_step` is the
         *     number of the first step that is not closed.
         */
        Turn: {
            closed_at: number | null;
            error: string;
            items: (components["schemas"]["Prose"] | components["schemas"]["Cell"])[];
            next_step: number;
            opened_at: number;
            outcome: components["schemas"]["TurnOutcome"] | null;
            state: components["schemas"]["TurnState"];
            text: string;
            turn: string;
            via: components["schemas"]["Via"];
            words: string;
        };
        /** @description The turn is over. `words` says why when it is not simply answered. */
        TurnClosed: {
            at: number;
            outcome: components["schemas"]["TurnOutcome"];
            seq: number;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "turn.closed";
            words: string;
        };
        /** @description A message was accepted and stored. `text` is empty when the turn continues the one before. */
        TurnOpened: {
            at: number;
            seq: number;
            text: string;
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "turn.opened";
            via: components["schemas"]["Via"];
        };
        /**
         * @description How a turn ended. All but `answered` can be continued.
         * @enum {string}
         */
        TurnOutcome: "answered" | "stopped" | "execution_limit" | "time_limit" | "token_limit" | "repeating" | "model_failed" | "sandbox_failed" | "lost";
        /** @enum {string} */
        TurnState: "waiting" | "writing" | "running" | "stopping" | "closed";
        /** @description Stop was heard; what runs is being ended. */
        TurnStopping: {
            turn: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "turn.stopping";
        };
        Unsubscribe: {
            conversation: string;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            type: "unsubscribe";
        };
        /** @description Tokens of one model request, as the model server counted them (None where it does not say). */
        Usage: {
            cached_tokens: number | null;
            completion_tokens: number | null;
            prompt_tokens: number | null;
        };
        /** @description All users together on one day (`day`: its first second, UTC). */
        UsageDay: {
            cpu_seconds: number;
            day: number;
            messages: number;
            model_tokens: number;
            users: number;
        };
        /** @description What one user has used in the time that was asked for; `disk_bytes` is now. */
        UsageLine: {
            cpu_seconds: number;
            disk_bytes: number;
            messages: number;
            model_tokens: number;
            user: string;
            user_name: string;
        };
        /**
         * @description `users`: those who used most tokens first. `days`: oldest first, those without use included. `counted`: whether this
         *     server counts at all.
         */
        UsageReport: {
            counted: boolean;
            days: components["schemas"]["UsageDay"][];
            users: components["schemas"]["UsageLine"][];
        };
        User: {
            email: string;
            id: string;
            name: string;
            /** @enum {string} */
            role: "user" | "admin";
        };
        /** @description `seen_at`: when they last signed in. `providers`: ids of those they come from. */
        UserLine: {
            created_at: number;
            disabled: boolean;
            email: string;
            group: string;
            has_password: boolean;
            id: string;
            name: string;
            providers: string[];
            /** @enum {string} */
            role: "user" | "admin";
            seen_at: number | null;
        };
        UserList: {
            users: components["schemas"]["UserLine"][];
        };
        /**
         * @description The door a turn came in by.
         * @enum {string}
         */
        Via: "browser" | "api" | "terminal";
        /** @description The whole conversation. `gap`: something live was missed, load the page again. */
        View: {
            gap: boolean;
            kernel: components["schemas"]["Kernel"];
            seq: number;
            turns: components["schemas"]["Turn"][];
        };
        /** @description `return_to`: a page of ours. `invite`: as in `Register`. `connect`: from now on the provider opens this account. */
        Visit: {
            /** @default false */
            connect: boolean;
            /** @default null */
            invite: string | null;
            /** @default / */
            return_to: string;
        };
        /**
         * @description What can be limited.
         * @enum {string}
         */
        What: "messages" | "model_tokens" | "cpu_seconds" | "sandboxes" | "disk";
        /** @description All outputs so far are gone (`clear_output`). */
        Wipe: {
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            op: "wipe";
        };
        /**
         * @description The text of the text item at `index` is cut to its first `at` characters, then `text` is appended.
         *
         *     Appending is `at` = length; a carriage return that redraws a progress bar is a smaller `at`.
         *     `at` counts Unicode code points.
         */
        Write: {
            at: number;
            index: number;
            /**
             * @description discriminator enum property added by openapi-typescript
             * @enum {string}
             */
            op: "write";
            text: string;
        };
        /**
         * @description A code action in the model's message. `opening` + code + `closing` are the exact characters the model wrote (with
         *     the closing tag restored where the server strips it), so that history can be sent back byte for byte.
         */
        WrittenCode: {
            cell: string;
            closing: string;
            code: string;
            opening: string;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type AuditEntry = components['schemas']['AuditEntry'];
export type AuditPage = components['schemas']['AuditPage'];
export type AuthState = components['schemas']['AuthState'];
export type Cell = components['schemas']['Cell'];
export type CellClosed = components['schemas']['CellClosed'];
export type CellOpened = components['schemas']['CellOpened'];
export type CellOutcome = components['schemas']['CellOutcome'];
export type CellOutput = components['schemas']['CellOutput'];
export type CellPhase = components['schemas']['CellPhase'];
export type CellProgress = components['schemas']['CellProgress'];
export type CellState = components['schemas']['CellState'];
export type ChangePassword = components['schemas']['ChangePassword'];
export type ChangeUser = components['schemas']['ChangeUser'];
export type CloseCode = components['schemas']['CloseCode'];
export type CodeDelta = components['schemas']['CodeDelta'];
export type Command = components['schemas']['Command'];
export type ContinueTurn = components['schemas']['ContinueTurn'];
export type ConversationChanged = components['schemas']['ConversationChanged'];
export type ConversationList = components['schemas']['ConversationList'];
export type ConversationPage = components['schemas']['ConversationPage'];
export type ConversationRemoved = components['schemas']['ConversationRemoved'];
export type ConversationSummary = components['schemas']['ConversationSummary'];
export type Delivery = components['schemas']['Delivery'];
export type DurableEvent = components['schemas']['DurableEvent'];
export type ErrorOutput = components['schemas']['ErrorOutput'];
export type Event = components['schemas']['Event'];
export type FileChange = components['schemas']['FileChange'];
export type Frame = components['schemas']['Frame'];
export type Hello = components['schemas']['Hello'];
export type InviteLine = components['schemas']['InviteLine'];
export type InviteList = components['schemas']['InviteList'];
export type Item = components['schemas']['Item'];
export type Kernel = components['schemas']['Kernel'];
export type KernelChanged = components['schemas']['KernelChanged'];
export type KernelState = components['schemas']['KernelState'];
export type Leave = components['schemas']['Leave'];
export type Live = components['schemas']['Live'];
export type LiveEvent = components['schemas']['LiveEvent'];
export type LiveNow = components['schemas']['LiveNow'];
export type LiveSandbox = components['schemas']['LiveSandbox'];
export type LiveTurn = components['schemas']['LiveTurn'];
export type Login = components['schemas']['Login'];
export type MadeInvite = components['schemas']['MadeInvite'];
export type MadeToken = components['schemas']['MadeToken'];
export type MakeInvite = components['schemas']['MakeInvite'];
export type MakeToken = components['schemas']['MakeToken'];
export type ModelInfo = components['schemas']['ModelInfo'];
export type ModelList = components['schemas']['ModelList'];
export type OidcProvider = components['schemas']['OidcProvider'];
export type OmittedOutput = components['schemas']['OmittedOutput'];
export type Output = components['schemas']['Output'];
export type OutputOp = components['schemas']['OutputOp'];
export type Ping = components['schemas']['Ping'];
export type Pong = components['schemas']['Pong'];
export type Prose = components['schemas']['Prose'];
export type ProtocolVersion = components['schemas']['ProtocolVersion'];
export type Put = components['schemas']['Put'];
export type Quota = components['schemas']['Quota'];
export type QuotaLimit = components['schemas']['QuotaLimit'];
export type QuotaLine = components['schemas']['QuotaLine'];
export type QuotaList = components['schemas']['QuotaList'];
export type Quotas = components['schemas']['Quotas'];
export type Refusal = components['schemas']['Refusal'];
export type Refused = components['schemas']['Refused'];
export type Register = components['schemas']['Register'];
export type Reset = components['schemas']['Reset'];
export type ResetLink = components['schemas']['ResetLink'];
export type RestartKernel = components['schemas']['RestartKernel'];
export type RichOutput = components['schemas']['RichOutput'];
export type SendMessage = components['schemas']['SendMessage'];
export type SessionLine = components['schemas']['SessionLine'];
export type SessionList = components['schemas']['SessionList'];
export type SettingInfo = components['schemas']['SettingInfo'];
export type SettingList = components['schemas']['SettingList'];
export type SignInError = components['schemas']['SignInError'];
export type StepClosed = components['schemas']['StepClosed'];
export type StepFinish = components['schemas']['StepFinish'];
export type StepOpened = components['schemas']['StepOpened'];
export type StopTurn = components['schemas']['StopTurn'];
export type Subscribe = components['schemas']['Subscribe'];
export type Subscribed = components['schemas']['Subscribed'];
export type TextDelta = components['schemas']['TextDelta'];
export type TextOutput = components['schemas']['TextOutput'];
export type TokenLine = components['schemas']['TokenLine'];
export type TokenList = components['schemas']['TokenList'];
export type Told = components['schemas']['Told'];
export type Turn = components['schemas']['Turn'];
export type TurnClosed = components['schemas']['TurnClosed'];
export type TurnOpened = components['schemas']['TurnOpened'];
export type TurnOutcome = components['schemas']['TurnOutcome'];
export type TurnState = components['schemas']['TurnState'];
export type TurnStopping = components['schemas']['TurnStopping'];
export type Unsubscribe = components['schemas']['Unsubscribe'];
export type Usage = components['schemas']['Usage'];
export type UsageDay = components['schemas']['UsageDay'];
export type UsageLine = components['schemas']['UsageLine'];
export type UsageReport = components['schemas']['UsageReport'];
export type User = components['schemas']['User'];
export type UserLine = components['schemas']['UserLine'];
export type UserList = components['schemas']['UserList'];
export type Via = components['schemas']['Via'];
export type View = components['schemas']['View'];
export type Visit = components['schemas']['Visit'];
export type What = components['schemas']['What'];
export type Wipe = components['schemas']['Wipe'];
export type Write = components['schemas']['Write'];
export type WrittenCode = components['schemas']['WrittenCode'];
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
