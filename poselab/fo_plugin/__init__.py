"""FiftyOne's side of poselab.plugin: its classes pass clicks on and show what comes back. Written by hand; see page 26b."""
import fiftyone.operators as foo
from fiftyone.operators import types
from poselab import plugin

PROPERTIES = dict(str=types.String, float=types.Number, bool=types.Boolean)


def say(ctx, work, *args, **kwargs):
    "Run something; what it says, or what is wrong, appears as a notice. True where it went well"
    try: ctx.ops.notify(work(*args, **kwargs), variant='success')
    except (ValueError, OSError, RuntimeError) as e: ctx.ops.notify(str(e), variant='error'); return False
    return True


class Ask(foo.Operator):
    "One operator for each entry of plugin.OPERATORS"
    key = ''

    @property
    def config(self):
        label, icon = plugin.OPERATORS[self.key]
        return foo.OperatorConfig(name=self.key, label=label, icon=icon, dynamic=True)

    def resolve_input(self, ctx):
        inputs = types.Object()
        try: fields = plugin.form(self.key, ctx.dataset, ctx.params, self.who(ctx))
        except ValueError as e:
            inputs.define_property('no', types.String(), view=types.Error(label=str(e)), invalid=True)
            return types.Property(inputs)
        for f in fields:
            if f['kind'] == 'enum':
                view = types.DropdownView()
                for value, label in f['choices'].items(): view.add_choice(value, label=label)
                inputs.enum(f['name'], view.values(), label=f['label'], default=f['default'], view=view, required=True)
            else: inputs.define_property(f['name'], PROPERTIES[f['kind']](), label=f['label'], default=f['default'])
        return types.Property(inputs, view=types.View(label=plugin.OPERATORS[self.key][0]))

    def selected(self, ctx): return dict(selected=ctx.selected or ([ctx.current_sample] if ctx.current_sample else []), labels=ctx.selected_labels or [])

    def who(self, ctx):
        if self.key != 'fix_label': return None
        if ctx.params.get('ann_id') is not None: return ctx.params['image'], ctx.params['ann_id']
        return next(iter(plugin.chosen(ctx.dataset, **self.selected(ctx))['people']), None)

    def execute(self, ctx):
        if say(ctx, plugin.run, self.key, ctx.dataset, ctx.params, **self.selected(ctx)): ctx.ops.reload_dataset()


def operator(key): return type(f'Ask_{key}', (Ask,), dict(key=key))


class PoseErrors(foo.Panel):
    "Bars that filter the grid, what mending would gain, and one finding at a time"
    @property
    def config(self): return foo.PanelConfig(name='pose_errors', label='Pose errors', icon='accessibility_new', surfaces='grid')

    def on_load(self, ctx): self.check(ctx)
    def on_change_dataset(self, ctx): self.check(ctx, bar='', skip=0)
    def on_change_selected(self, ctx): ctx.panel.state.set(dict(skip=0))
    def on_change_selected_labels(self, ctx): ctx.panel.state.set(dict(skip=0))

    def check(self, ctx, **state):
        problem = ''
        try:
            if plugin.catch_up(ctx.dataset): ctx.ops.reload_dataset()
        except ValueError as e: problem = str(e)
        ctx.panel.state.set(dict(state, problem=problem))

    def on_tab(self, ctx): ctx.panel.state.set(dict(tab=ctx.params.get('value') or 'errors', bar='', skip=0))

    def on_bar(self, ctx):
        bar, tab = str(ctx.params.get('id') or ''), ctx.panel.get_state('tab') or 'errors'
        if not bar or bar == 'as it is': return
        try: ctx.ops.set_view(plugin.view_of(ctx.dataset, tab, bar))
        except ValueError as e: ctx.ops.notify(str(e), variant='info')
        ctx.panel.state.set(dict(bar=bar, skip=0))

    def on_all(self, ctx):
        ctx.ops.clear_view()
        ctx.panel.state.set(dict(bar='', skip=0))

    def card(self, ctx):
        who = plugin.chosen(ctx.dataset, ctx.selected or [], ctx.selected_labels or [])
        return plugin.card(ctx.dataset, who['findings'], ctx.panel.get_state('bar') or '', ctx.panel.get_state('skip') or 0)

    def done(self, ctx): ctx.ops.reload_dataset()

    def on_accept(self, ctx): self.answer(ctx, 'accepted')
    def on_reject(self, ctx): self.answer(ctx, 'rejected')
    def answer(self, ctx, verdict):
        if (now := self.card(ctx)) and say(ctx, plugin.respond, ctx.dataset, [now['finding_id']], verdict): self.done(ctx)

    def on_fix(self, ctx):
        if now := self.card(ctx): ctx.prompt('@poselab/pose-errors/fix_label', params={k: now[k] for k in ('finding_id', 'image', 'ann_id')})

    def on_next(self, ctx): ctx.panel.state.set(dict(skip=(ctx.panel.get_state('skip') or 0) + 1))
    def on_undo(self, ctx):
        if say(ctx, plugin.take_back, ctx.dataset): self.done(ctx)
    def on_audit(self, ctx):
        if say(ctx, plugin.run_audit, ctx.dataset): self.done(ctx)
    def on_export(self, ctx): ctx.prompt('@poselab/pose-errors/export_labels')

    def render(self, ctx):
        panel = types.Object()
        if problem := ctx.panel.get_state('problem'): panel.md(problem, name='problem')
        else:
            tab = ctx.panel.get_state('tab') or 'errors'
            tabs = types.TabsView()
            for value, label in dict(errors='Errors', gains='What to mend', findings='Labels').items(): tabs.add_choice(value, label=label)
            panel.enum('tab', tabs.values(), default='errors', view=tabs, on_change=self.on_tab)
            row = panel.h_stack('top', gap=1)
            row.btn('all', label='Show all', on_click=self.on_all, variant='outlined')
            row.btn('undo', label='Undo', on_click=self.on_undo, variant='outlined')
            row.btn('export', label='Export', on_click=self.on_export, variant='outlined')
            getattr(self, f'show_{tab}')(ctx, panel)
        return types.Property(panel)

    def show_errors(self, ctx, panel):
        self.plot(panel, 'errors', plugin.bars(plugin.error_counts_of(ctx.dataset), plugin.ERROR_COLORS, 'wrong keypoints'))

    def show_gains(self, ctx, panel):
        drawn = plugin.gain_bars(plugin.gains_of(ctx.dataset))
        bar = ctx.panel.get_state('bar') or ''
        for name in ('alone', 'in_turn'): self.plot(panel, name, drawn[name])
        if bar:
            title, picture = plugin.before_after(ctx.dataset, bar)
            panel.md(f'**{bar}**, as predicted and mended: {title}', name='mended')
            if picture: panel.str('picture', view=types.ImageView(width='444px', alt=title), default=picture)

    def show_findings(self, ctx, panel):
        counts, whole = plugin.finding_counts_of(ctx.dataset), plugin.whole_set(ctx.dataset)
        for n, text in enumerate(whole): panel.md(f'**About the whole set:** {text}', name=f'whole{n}')
        if not counts and not whole:
            panel.md('Nobody has asked the audit yet.', name='none')
            panel.btn('audit', label='Audit the labels', on_click=self.on_audit, variant='contained')
            return
        if counts: self.plot(panel, 'findings', plugin.bars(counts, plugin.VERDICT_COLORS, 'findings'))
        now = self.card(ctx)
        if not now: panel.md('Nothing is open here.', name='done'); return
        panel.md(f'{now["text"]}\n\n{now["left"]} to answer here', name='card')
        picture = plugin.card_picture(ctx.dataset, now['finding_id'])
        if picture: panel.str('person', view=types.ImageView(width='444px', alt='as labelled, and mended'), default=picture)
        row = panel.h_stack('answers', gap=1)
        row.btn('accept', label='Accept', on_click=self.on_accept, variant='contained')
        row.btn('reject', label='Reject', on_click=self.on_reject, variant='outlined')
        row.btn('fix', label='Fix otherwise', on_click=self.on_fix, variant='outlined')
        row.btn('next', label='Next', on_click=self.on_next, variant='outlined')

    def plot(self, panel, name, drawn):
        panel.plot(name, data=drawn['data'], layout=drawn['layout'], on_click=self.on_bar, config=dict(displayModeBar=False))


def register(p):
    for key in plugin.OPERATORS: p.register(operator(key))
    p.register(PoseErrors)
