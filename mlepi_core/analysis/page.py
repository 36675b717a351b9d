"""Look and skeleton of the report page: no scripts, nothing loaded from elsewhere, for phones and paper."""

CSS = """
:root { color-scheme: light; --ink: #1d2329; --soft: #5a646e; --line: #d8dde2;
  --accent: #0072b2; --warn: #fff6e6; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.2rem 1rem 3rem; color: var(--ink); background: #fff;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .2rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-bottom: .25rem;
  border-bottom: 2px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.3rem 0 .2rem; }
p { margin: .5rem 0; }
a { color: var(--accent); }
.meta, .note, figcaption, caption { color: var(--soft); font-size: .88rem; }
.lead { font-size: 1.1rem; }
nav { margin: .8rem 0; font-size: .9rem; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .7rem;
  margin: 1rem 0; }
.card { border: 1px solid var(--line); border-top: 3px solid var(--accent); border-radius: 4px;
  padding: .55rem .7rem; }
.card b { display: block; font-size: 1.05rem; line-height: 1.35; overflow-wrap: anywhere; }
.card span { display: block; font-size: .82rem; color: var(--soft); }
figure { margin: 1.1rem 0; }
figure div { overflow-x: auto; }
figure img { display: block; width: 100%; min-width: 34rem; max-width: 46rem; height: auto; margin: 0 auto; }
figcaption { max-width: 46rem; margin: .4rem auto 0; }
.scroll { overflow-x: auto; margin: 1rem 0 .2rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; color: var(--ink); padding-bottom: .3rem; }
th, td { padding: .24rem .65rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { vertical-align: bottom; white-space: normal;
  border-bottom: 2px solid var(--soft); font-weight: 600; }
th.word, td.word { text-align: left; }
tr.marked td { background: var(--warn); }
.caveats { background: var(--warn); border-left: 4px solid #e69f00; padding: .4rem 1rem .7rem; }
.caveats h3 { margin-top: .8rem; }
pre { font: .8rem/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-x: auto;
  padding: .7rem; background: #f6f8fa; border: 1px solid var(--line); border-radius: 4px; }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
@media (max-width: 34rem) { body { font-size: .95rem; padding: .8rem .7rem 2rem; }
  h1 { font-size: 1.3rem; } .lead { font-size: 1rem; }
  th, td { padding: .2rem .4rem; } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  figure, .card, tr { break-inside: avoid; }
  figure img { min-width: 0; max-width: 14.5cm; }
  .scroll { overflow: visible; break-inside: avoid; }
  table { font-size: 8pt; } th, td { padding: .15rem .35rem; }
  pre { white-space: pre-wrap; }
  * { print-color-adjust: exact; }
}
"""

TEMPLATE = """\
{%- macro table_of(table) -%}
<div class="scroll" tabindex="0"><table>
<caption>{{ table.caption }}</caption>
<thead><tr>
{%- for name in table.header -%}
<th scope="col"{% if loop.index0 < table.n_words %} class="word"{% endif %}>{{ name }}</th>
{%- endfor -%}
</tr></thead>
<tbody>
{% for row in table.rows -%}
<tr{% if loop.index0 in table.marked %} class="marked"{% endif %}>
{%- for cell in row -%}
<td{% if loop.index0 < table.n_words %} class="word"{% endif %}>{{ cell }}</td>
{%- endfor -%}
</tr>
{% endfor -%}
</tbody></table></div>
{% if table.note %}<p class="note">{{ table.note }}</p>{% endif %}
{%- endmacro -%}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>MLEPI: {{ run }}</title>
<style>{{ css }}</style>
</head>
<body>
<header>
<h1>Electron–phonon interactions from machine-learned forces and Hamiltonians</h1>
<p class="meta">Run <b>{{ run }}</b>, {{ origin }}</p>
</header>
<main>
<section id="result" aria-label="Main result">
<p class="lead">{{ sentence }}</p>
<div class="cards">
{% for card in cards -%}
<div class="card"><span>{{ card.title }}</span><b>{{ card.value }}</b><span>{{ card.note }}</span></div>
{% endfor -%}
</div>
</section>
<nav aria-label="Sections">
<a href="#caveats">Caveats</a>
{% for section in sections %}<a href="#{{ section.anchor }}">{{ section.title }}</a> {% endfor -%}
</nav>
{% for section in sections %}
<section id="{{ section.anchor }}">
<h2>{{ section.title }}</h2>
{% for text in section.texts %}<p>{{ text }}</p>
{% endfor -%}
{% for figure in section.figures -%}
<figure><div tabindex="0"><img src="{{ figure.source }}" alt="{{ figure.caption }}"></div>
<figcaption>{{ figure.caption }} <code>figures/{{ figure.name }}.csv</code></figcaption></figure>
{% endfor -%}
{% for table in section.tables %}{{ table_of(table) }}{% endfor -%}
{% if section.listing %}<pre>{{ section.listing }}</pre>{% endif %}
</section>
{% if loop.first %}
<section id="caveats">
<h2>Caveats</h2>
<div class="caveats">
{% for title, text in caveats %}<h3>{{ title }}</h3>
<p>{{ text }}</p>
{% endfor -%}
</div>
</section>
{% endif %}
{% endfor %}
</main>
</body>
</html>
"""
