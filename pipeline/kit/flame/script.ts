/** What makes a flame graph zoom and search; the same in a page and in an SVG by itself. Small, and nothing hangs on it. */
export const FLAME_SCRIPT = `
(function(){
var W=1200,L=6.6,byId=function(i){return document.getElementById(i)};
[].forEach.call(document.querySelectorAll('svg.flame'),function(svg){
var gs=[].slice.call(svg.querySelectorAll('g[data-x]')).map(function(g){return{g:g,x:+g.getAttribute('data-x'),w:+g.getAttribute('data-w'),d:+g.getAttribute('data-d'),n:g.getAttribute('data-n'),r:g.querySelector('rect'),t:g.querySelector('text')}});
var box=svg.closest?svg.closest('.flamebox'):null,at=gs[0];
function part(c){return box?box.querySelector('.'+c):byId(c)}
function say(c,s){var e=part(c);if(e)e.textContent=s}
function zoom(to){at=to;
gs.forEach(function(f){
var up=f.d<to.d&&f.x<=to.x+1e-9&&f.x+f.w>=to.x+to.w-1e-9,inn=f.d>=to.d&&f.x>=to.x-1e-9&&f.x+f.w<=to.x+to.w+1e-9;
f.g.classList.toggle('off',!up&&!inn);f.g.classList.toggle('dim',up);if(!up&&!inn)return;
var x=up?0:(f.x-to.x)/to.w*W,w=up?W:f.w/to.w*W;
f.r.setAttribute('x',x);f.r.setAttribute('width',Math.max(.2,w-.4));
var m=Math.floor((w-6)/L);
if(m<3){if(f.t)f.t.textContent='';return}
if(!f.t){f.t=document.createElementNS('http://www.w3.org/2000/svg','text');f.t.setAttribute('y',+f.r.getAttribute('y')+13);f.g.appendChild(f.t)}
f.t.setAttribute('x',x+3);f.t.textContent=f.n.length>m?f.n.slice(0,m-1)+'…':f.n});
var b=part('reset');if(b)b.style.visibility=to===gs[0]?'hidden':'visible'}
function search(q){q=q.toLowerCase();var sum=0,n=0,end=[];
gs.forEach(function(f){var hit=q!==''&&f.n.toLowerCase().indexOf(q)>=0;f.g.classList.toggle('hit',hit);if(!hit)return;n++;
var inside=end.some(function(e){return f.d>e.d&&f.x>=e.x-1e-9&&f.x+f.w<=e.x+e.w+1e-9});if(!inside){sum+=f.w;end.push(f)}});
say('found',q===''?'':n+' frames, '+(sum*100).toFixed(1)+' % of the time')}
gs.forEach(function(f){f.g.addEventListener('click',function(){zoom(f===at?gs[0]:f)})});
var b=part('reset');if(b)b.addEventListener('click',function(){zoom(gs[0])});
var i=part('search');if(i){if(i.tagName.toLowerCase()==='input')i.addEventListener('input',function(){search(i.value)});
else i.addEventListener('click',function(){var q=prompt('Search for a part of a name');if(q!==null)search(q)})}
if(box)document.addEventListener('keydown',function(e){if(e.key==='Escape')zoom(gs[0])});
})})();
`;
