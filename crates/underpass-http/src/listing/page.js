"use strict";
(() => {
	const zh = document.documentElement.lang.startsWith("zh");
	const text = zh ? {
		found: (some, all) => `${some} / ${all}`,
		drop: "松开以上传",
		taken: name => `“${name}”已存在。`,
		same: "对其余文件执行相同操作",
		replace: "替换", both: "保留两者", skip: "跳过", cancel: "取消",
		waiting: "等待中", done: "完成", skipped: "已跳过", cancelled: "已取消",
		lost: "连接中断", folder: "无法上传文件夹",
	} : {
		found: (some, all) => `${some} of ${all}`,
		drop: "Drop to upload",
		taken: name => `“${name}” is already there.`,
		same: "Do the same for the other files",
		replace: "Replace", both: "Keep both", skip: "Skip", cancel: "Cancel",
		waiting: "waiting", done: "done", skipped: "skipped", cancelled: "cancelled",
		lost: "the connection broke off", folder: "folders cannot be uploaded",
	};
	const one = (selector, within = document) => within.querySelector(selector);
	const make = (tag, properties, ...children) => {
		const element = Object.assign(document.createElement(tag), properties);
		element.append(...children);
		return element;
	};

	// Local times
	const format = new Intl.DateTimeFormat("sv-SE", {dateStyle: "short", timeStyle: "short"});
	const localise = () => {
		for (const time of document.querySelectorAll("time")) {
			time.title = time.dateTime;
			time.textContent = format.format(new Date(time.dateTime));
		}
		one("th small")?.remove();
	};
	localise();

	// Search
	const search = one("input[type=search]");
	const count = one("output");
	const links = () => [...document.querySelectorAll("tr:not([hidden]) > td > a, p > a.up")];
	const narrow = () => {
		const wanted = search.value.normalize().toLowerCase();
		let some = 0, all = 0;
		for (const row of document.querySelectorAll("tbody tr")) {
			const name = one("bdi", row);
			if (!name) continue;
			row.hidden = !name.textContent.normalize().toLowerCase().includes(wanted);
			all++;
			some += !row.hidden;
		}
		count.textContent = wanted && text.found(some, all);
	};
	if (search) {
		search.hidden = false;
		search.addEventListener("input", narrow);
		narrow();
	}

	// Keyboard
	const move = step => {
		const all = links();
		const at = all.indexOf(document.activeElement);
		const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step;
		all[Math.max(0, Math.min(next, all.length - 1))]?.focus();
	};
	document.addEventListener("keydown", event => {
		if (event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]")) return;
		const typing = event.target.matches?.("input, select, textarea");
		if (typing && event.target !== search) return;
		const actions = {
			ArrowDown: () => move(1),
			ArrowUp: () => move(-1),
		};
		if (typing) {
			actions.Escape = () => { search.value = ""; narrow(); search.blur(); };
			actions.Enter = () => links().find(link => !link.matches(".up"))?.click();
		} else {
			actions["/"] = () => search?.focus();
			actions.Home = () => links()[0]?.focus();
			actions.End = () => links().at(-1)?.focus();
			actions.Backspace = () => one("a.up")?.click();
		}
		if (!actions[event.key]) return;
		event.preventDefault();
		actions[event.key]();
	});

	// Uploads
	const form = one("form.upload");
	if (!form) return;
	form.classList.add("live");
	const input = one("input[type=file]", form);
	const list = make("ul", {className: "uploads"});
	list.setAttribute("aria-live", "polite");
	form.after(list);
	const queue = [];
	let busy = false;
	let always = null;

	const send = (method, name, body, fields, onprogress, onstart) => new Promise(done => {
		const request = new XMLHttpRequest();
		request.open(method, "./" + encodeURIComponent(name));
		for (const field in fields) request.setRequestHeader(field, fields[field]);
		if (onprogress) request.upload.onprogress = onprogress;
		request.onload = () => done({status: request.status, text: request.responseText});
		request.onerror = () => done({status: 0, text: text.lost});
		request.onabort = () => done({status: -1});
		onstart?.(request);
		request.send(body);
	});

	// "name (2).ext" after "name.ext"
	const numbered = (name, number) => {
		const dot = name.lastIndexOf(".");
		const end = dot > 0 ? dot : name.length;
		return number < 2 ? name : `${name.slice(0, end)} (${number})${name.slice(end)}`;
	};

	const ask = name => new Promise(answer => {
		const same = make("input", {type: "checkbox"});
		const dialog = make("dialog", {}, make("p", {textContent: text.taken(name)}));
		const choose = choice => {
			if (same.checked) always = choice;
			dialog.remove();
			answer(choice);
		};
		const buttons = ["replace", "both", "skip"].map(choice => {
			const button = make("button", {type: "button", textContent: text[choice], value: choice});
			button.autofocus = choice === "both";
			button.onclick = () => choose(choice);
			return button;
		});
		dialog.oncancel = () => choose("skip");
		dialog.append(make("div", {}, ...buttons));
		if (queue.length) dialog.append(make("label", {}, same, text.same));
		document.body.append(dialog);
		dialog.showModal();
	});

	const upload = async item => {
		let name = item.file.name, choice = null, number = 1;
		const progress = event => {
			item.bar.value = event.loaded / (event.total || 1);
			item.state.textContent = Math.floor(100 * item.bar.value) + " %";
		};
		const start = request => { item.abort = () => request.abort(); };
		for (;;) {
			// Asked first, so that no large file is sent in vain.
			const there = choice !== "replace" && (await send("HEAD", name)).status === 200;
			const fields = choice === "replace" ? {} : {"If-None-Match": "*"};
			if (item.cancelled) return {status: -1};
			const reply = there ? {status: 412} : await send("PUT", name, item.file, fields, progress, start);
			if (reply.status !== 412) return {...reply, name};
			if (choice !== "both") choice = always ?? await ask(name);
			if (choice === "skip") return {status: 412};
			if (choice === "both") name = numbered(item.file.name, ++number);
		}
	};

	const refresh = async () => {
		const reply = await fetch("", {headers: {Accept: "text/html"}});
		if (!reply.ok) return;
		const page = new DOMParser().parseFromString(await reply.text(), "text/html");
		for (const part of ["main", "footer"]) {
			const fresh = one(part, page);
			if (fresh) one(part).replaceWith(document.importNode(fresh, true));
		}
		localise();
		narrow();
	};

	const work = async () => {
		if (busy) return;
		busy = true;
		while (queue.length) {
			const item = queue.shift();
			const reply = item.cancelled ? {status: -1} : await upload(item);
			const fine = reply.status >= 200 && reply.status < 300;
			item.bar.value = fine ? 1 : item.bar.value;
			item.row.className = fine ? "done" : reply.status === 412 || reply.status < 0 ? "" : "failed";
			item.label.textContent = reply.name ?? item.file.name;
			item.state.textContent = fine ? text.done
				: reply.status === 412 ? text.skipped
				: reply.status < 0 ? text.cancelled
				: reply.text?.trim() || reply.status;
			item.button.remove();
		}
		always = null;
		busy = false;
		await refresh();
	};

	const add = files => {
		for (const file of files) {
			const item = {
				file,
				label: make("bdi", {textContent: file.name}),
				bar: make("progress", {value: 0}),
				state: make("span", {textContent: text.waiting}),
				button: make("button", {type: "button", textContent: text.cancel}),
			};
			item.row = make("li", {}, item.label, item.bar, item.state, item.button);
			item.button.onclick = () => { item.cancelled = true; item.abort?.(); };
			list.append(item.row);
			queue.push(item);
		}
		work();
	};

	input.addEventListener("change", () => { add([...input.files]); input.value = ""; });
	addEventListener("beforeunload", event => { if (busy) event.preventDefault(); });

	// Drag and drop
	const body = document.body;
	body.dataset.drop = text.drop;
	let depth = 0;
	const dragging = event => event.dataTransfer?.types.includes("Files");
	const end = () => { depth = 0; body.classList.remove("dropping"); };
	addEventListener("dragenter", event => {
		if (!dragging(event)) return;
		depth++;
		body.classList.add("dropping");
	});
	addEventListener("dragleave", event => { if (dragging(event) && --depth <= 0) end(); });
	addEventListener("dragover", event => { if (dragging(event)) event.preventDefault(); });
	addEventListener("drop", event => {
		if (!dragging(event)) return;
		event.preventDefault();
		end();
		const files = [];
		for (const item of event.dataTransfer.items) {
			const entry = item.webkitGetAsEntry?.();
			if (entry?.isDirectory) {
				list.append(make("li", {className: "failed"},
					make("bdi", {textContent: entry.name}), make("span", {textContent: text.folder})));
			} else if (item.kind === "file") files.push(item.getAsFile());
		}
		add(files);
	});
})();
